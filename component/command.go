package component

import (
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// NSCommands is the namespace of ad-hoc commands, and the node that lists them.
const NSCommands = "http://jabber.org/protocol/commands"

// A Command is something that users have done by filling in forms (XEP-0050).
type Command struct {
	Node, Name string
	May        func(from jid.JID) bool // who may; nil: everybody

	// Do is called at each step with the forms that were submitted up to now, none at
	// first. It asks for the next form, or does what is to be done. It must change
	// nothing as long as it asks: a user may go back. The error should be made by
	// NewError or BadPayload. A nil Reply says that Call.Answer will be sent later.
	Do func(c *Call) (*Reply, error)
}

// A Call is a step of a Command.
type Call struct {
	Request *Stanza // not to be changed
	Forms   []*Form

	node, id string
	wants    bool // that it is completed by this step, and it is the first
}

// Form is what was submitted last, nil at the first step.
func (c *Call) Form() *Form {
	if len(c.Forms) == 0 {
		return nil
	}
	return c.Forms[len(c.Forms)-1]
}

// A Reply is what a step of a Command leads to: a form to be filled in, of type form, or
// the end.
type Reply struct {
	Form *Form
	Note string // for the user
	More bool   // behind Form there will be another one
}

// asks tells if it is not the end.
func (r *Reply) asks() bool { return r.Form != nil && r.Form.Type == "form" }

// Answer makes the answer to a Call.
func (c *Call) Answer(r *Reply) *Stanza {
	e := NewElement(NSCommands, "command").With("node", c.node).With("sessionid", c.id).With("status", "completed")
	if r.asks() {
		e.SetAttr("status", "executing")
		last := "complete"
		if r.More {
			last = "next"
		}
		actions := NewElement(NSCommands, "actions").With("execute", last)
		if len(c.Forms) > 0 {
			actions.Add(NewElement(NSCommands, "prev"))
		}
		e.Add(actions.Add(NewElement(NSCommands, last)))
	}
	if r.Form != nil {
		e.Add(r.Form.Element())
	}
	if r.Note != "" {
		e.Add(NewElement(NSCommands, "note", Text(r.Note)).With("type", "info"))
	}
	answer := c.Request.Result(e)
	answer.Lang = "en"
	return answer
}

// BadPayload tells what is wrong with a form that was submitted (XEP-0050 §4.4).
func BadPayload(text string) error { return badRequest("bad-payload", text) }

func badRequest(condition, text string) error {
	return NewAppError(stanza.Modify, stanza.BadRequest, text, NSCommands, condition)
}

// Dialogs are commands that are under way. The zero Dialogs is ready for use, and safe for
// concurrent use.
type Dialogs struct {
	mu   sync.Mutex
	open map[string]*dialog // by session id
}

// A dialog waits for its user's next step.
type dialog struct {
	from, to jid.JID // of the requests
	node     string
	forms    []*Form
	more     bool
	used     time.Time
}

const (
	maxDialogs = 1000             // that wait
	maxOfOne   = 10               // that wait for one user
	dialogAge  = 15 * time.Minute // that one waits
)

// Handle answers a request that is about commands: to execute one (XEP-0050 §2.4), or
// which there are (XEP-0030); others are not ok. The answer is nil if it will be sent
// later. The commands are those that there are for who asks and whom, and the same at
// each step. s has passed Stanza.Check.
func (d *Dialogs) Handle(commands []Command, s *Stanza, now time.Time) (answer *Stanza, ok bool) {
	p := s.Payload()
	node := p.AttrValue("node")
	may := func(c *Command) bool { return c.May == nil || c.May(s.From) }
	var c *Command
	if i := slices.IndexFunc(commands, func(c Command) bool { return c.Node == node }); i >= 0 {
		c = &commands[i]
	}
	switch {
	case p.Is(NSCommands, "command") && s.Type == string(stanza.SetIQ):
		if c == nil {
			return refusal(s, NewError(stanza.Cancel, stanza.ItemNotFound, "")), true
		}
		if !may(c) {
			return refusal(s, NewError(stanza.Auth, stanza.Forbidden, "")), true
		}
		answer, err := d.step(c, s, now)
		if err != nil {
			return refusal(s, err), true
		}
		return answer, true
	case p.Is(NSDiscoItem, "query") && node == NSCommands:
		q := NewElement(NSDiscoItem, "query").With("node", node)
		for i := range commands {
			if c := &commands[i]; may(c) {
				q.Add(NewElement(NSDiscoItem, "item").With("jid", s.To.String()).With("node", c.Node).With("name", c.Name))
			}
		}
		return s.Result(q), true
	case p.Is(NSDiscoInfo, "query") && node == NSCommands:
		return s.Result(describe(node, "command-list", "")), true
	case p.Is(NSDiscoInfo, "query") && c != nil:
		if !may(c) {
			return s.Error(NewError(stanza.Auth, stanza.Forbidden, "")), true
		}
		return s.Result(describe(node, "command-node", c.Name)), true
	}
	return nil, false
}

// refusal is an error that tells which command it is about.
func refusal(s *Stanza, err error) *Stanza {
	e := s.Error(err)
	if e != nil {
		command := *s.Payload()
		command.Nodes = nil
		e.Nodes = slices.Insert(e.Nodes, 0, command.Node())
	}
	return e
}

// describe says what a node is (XEP-0050 §2.2).
func describe(node, typ, name string) *Element {
	id := NewElement(NSDiscoInfo, "identity").With("category", "automation").With("type", typ)
	if name != "" {
		id.SetAttr("name", name)
	}
	return NewElement(NSDiscoInfo, "query", id.Node()).With("node", node).
		Add(NewElement(NSDiscoInfo, "feature").With("var", NSCommands), NewElement(NSDiscoInfo, "feature").With("var", NSData))
}

// step does one step of a command.
func (d *Dialogs) step(cmd *Command, s *Stanza, now time.Time) (*Stanza, error) {
	p := s.Payload()
	action := p.AttrValue("action")
	switch action {
	case "", "execute", "complete", "next", "prev", "cancel":
	default:
		return nil, badRequest("malformed-action", "")
	}
	c := &Call{Request: s, node: cmd.Node, id: p.AttrValue("sessionid")}
	// Any type of form is taken for submit, as §3.5.1 has it.
	form := ParseForm(p.Child(NSData, "x"))
	if c.id == "" {
		return d.begin(cmd, c, form, action, now)
	}
	waiting, err := d.take(c, now)
	if err != nil {
		return nil, err
	}
	c.Forms = waiting.forms
	switch {
	case action == "cancel":
		return s.Result(NewElement(NSCommands, "command").With("node", c.node).
			With("sessionid", c.id).With("status", "canceled")), nil
	case action == "prev" && len(c.Forms) > 0:
		c.Forms = c.Forms[:len(c.Forms)-1]
	case action == "prev", action == "next" && !waiting.more, action == "complete" && waiting.more:
		err = badRequest("bad-action", "")
	default:
		if form == nil {
			form = &Form{Type: "submit"}
		}
		c.Forms = append(slices.Clone(c.Forms), form)
	}
	var answer *Stanza
	if err == nil {
		answer, err = d.do(cmd, c, now)
	}
	if err != nil {
		d.wait(c.id, waiting, now) // another try is allowed
	}
	return answer, err
}

// begin does the first step of a command. A client that knows the form already submits it
// at once.
func (d *Dialogs) begin(cmd *Command, c *Call, form *Form, action string, now time.Time) (*Stanza, error) {
	if action == "prev" || action == "cancel" {
		return nil, badRequest("bad-action", "")
	}
	c.id = rand.Text()
	if form != nil {
		c.Forms = []*Form{form}
	}
	c.wants = action == "complete" && form == nil
	return d.do(cmd, c, now)
}

func (d *Dialogs) do(cmd *Command, c *Call, now time.Time) (*Stanza, error) {
	r, err := cmd.Do(c)
	switch {
	case err != nil:
		return nil, err
	case r == nil:
		return nil, nil
	case r.asks() && c.wants:
		return nil, BadPayload("The form is missing.")
	case r.asks():
		d.wait(c.id, &dialog{from: c.Request.From, to: c.Request.To, node: c.node, forms: c.Forms, more: r.More}, now)
	}
	return c.Answer(r), nil
}

// take takes a dialog out, so that a step is not done twice.
func (d *Dialogs) take(c *Call, now time.Time) (*dialog, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.open[c.id]
	if w == nil || !w.from.Equal(c.Request.From) || !w.to.Equal(c.Request.To) || w.node != c.node {
		return nil, badRequest("bad-sessionid", "")
	}
	delete(d.open, c.id)
	if now.Sub(w.used) > dialogAge {
		return nil, NewAppError(stanza.Cancel, stanza.NotAllowed, "", NSCommands, "session-expired")
	}
	return w, nil
}

// wait keeps a dialog. If there are too many, the oldest is forgotten.
func (d *Dialogs) wait(id string, w *dialog, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	oldest, oldestOfOne, ofOne := "", "", 0
	older := func(id, than string) bool { return than == "" || d.open[id].used.Before(d.open[than].used) }
	for id, other := range d.open {
		if now.Sub(other.used) > 2*dialogAge {
			delete(d.open, id)
			continue
		}
		if older(id, oldest) {
			oldest = id
		}
		if other.from.Bare().Equal(w.from.Bare()) {
			if ofOne++; older(id, oldestOfOne) {
				oldestOfOne = id
			}
		}
	}
	if ofOne >= maxOfOne {
		delete(d.open, oldestOfOne)
	} else if len(d.open) >= maxDialogs {
		delete(d.open, oldest)
	}
	if d.open == nil {
		d.open = map[string]*dialog{}
	}
	w.used = now
	d.open[id] = w
}
