package component

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"
)

// kept is a Sender that keeps what it gets.
type kept []*Stanza

func (k *kept) Send(_ context.Context, s *Stanza) error {
	*k = append(*k, s)
	return nil
}

const bard = "bard@shakespeare.lit/globe"

// theatre has a command of two steps, one that asks for nothing, and one that is for
// nobody.
func theatre(out Sender) (*Service, *[]string) {
	var done []string
	sv := NewService(out, Identity{"pubsub", "service", "Theatre"})
	sv.Command(Command{Node: "play", Name: "Stage a play", Do: func(c *Call) (*Reply, error) {
		switch len(c.Forms) {
		case 0:
			return &Reply{Form: &Form{Type: "form", FormType: "urn:play", Fields: []Field{{Var: "name", Type: "text-single", Required: true}}}, More: true}, nil
		case 1:
			if c.Form().Value("name") == "" {
				return nil, BadPayload("Which play?")
			}
			return &Reply{Form: &Form{Type: "form", Title: c.Form().Value("name"), Fields: []Field{{Var: "day", Type: "text-single"}}}}, nil
		}
		done = append(done, c.Forms[0].Value("name")+" on "+c.Form().Value("day"))
		return &Reply{Note: "The stage is set."}, nil
	}}, Command{Node: "plays", Name: "Plays", Do: func(c *Call) (*Reply, error) {
		return &Reply{Form: &Form{Type: "result", Reported: []Field{{Var: "name", Label: "Name"}, {Var: "day"}},
			Items: [][]string{{"Macbeth", "Monday"}, {"Hamlet", ""}}}}, nil
	}}, Command{Node: "burn", Name: "Burn it down", May: func(jid.JID) bool { return false }})
	return sv, &done
}

// request is what a service answers.
func request(t *testing.T, sv *Service, out *kept, from, typ, payload string) *Stanza {
	t.Helper()
	s, err := ParseStanza(parse(t, NSAccept, "<iq id='i' to='play.lit' type='"+typ+"' from='"+from+"'>"+payload+"</iq>"))
	require.NoError(t, err)
	*out = nil
	if err := sv.HandleStanza(context.Background(), s); err != nil {
		return s.Error(err)
	}
	require.Len(t, *out, 1)
	return (*out)[0]
}

func command(attrs string, fields ...string) string {
	x := ""
	for i := 0; i+1 < len(fields); i += 2 {
		x += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	if fields != nil {
		x = "<x xmlns='jabber:x:data' type='submit'>" + x + "</x>"
	}
	return "<command xmlns='" + NSCommands + "' " + attrs + ">" + x + "</command>"
}

// why is the error of a stanza: its conditions, general and special.
func why(s *Stanza) string {
	if s.Type != "error" {
		return s.Type
	}
	e := s.StanzaError()
	text := string(e.Type) + " " + string(e.Condition)
	for _, n := range s.Child(NSClient, "error").Nodes {
		if n.Element != nil && n.Element.Name.Space == NSCommands {
			text += " " + n.Element.Name.Local
		}
	}
	return text
}

// XEP-0050 §2.1, §2.2: which commands there are.
func TestCommandDisco(t *testing.T) {
	var out kept
	sv, _ := theatre(&out)
	ask := func(what, node string) *Stanza {
		return request(t, sv, &out, bard, "get", "<query xmlns='http://jabber.org/protocol/disco#"+what+"' node='"+node+"'/>")
	}
	list := ask("items", NSCommands).Payload()
	require.Equal(t, NSCommands, list.AttrValue("node"))
	require.Len(t, list.Nodes, 2, "what one may not do is not listed")
	require.Equal(t, `<item xmlns='http://jabber.org/protocol/disco#items' jid='play.lit' node='play' name='Stage a play'/>`, list.Nodes[0].Element.String())
	require.Equal(t, "command-list", ask("info", NSCommands).Payload().Child(NSDiscoInfo, "identity").AttrValue("type"))
	id := ask("info", "play").Payload().Child(NSDiscoInfo, "identity")
	require.Equal(t, "automation/command-node/Stage a play", id.AttrValue("category")+"/"+id.AttrValue("type")+"/"+id.AttrValue("name"))
	require.Equal(t, "auth forbidden", why(ask("info", "burn")))
	require.Equal(t, "cancel item-not-found", why(ask("info", "nothing")))
	require.Contains(t, ask("info", "").String(), "var='"+NSCommands+"'")
}

// XEP-0050 §2.4: step by step, and back.
func TestCommandSteps(t *testing.T) {
	var out kept
	sv, done := theatre(&out)
	set := func(attrs string, fields ...string) *Stanza {
		return request(t, sv, &out, bard, "set", command(attrs, fields...))
	}
	first := set("node='play' action='execute'").Payload()
	require.Equal(t, "executing", first.AttrValue("status"))
	require.Equal(t, "next", first.Child(NSCommands, "actions").AttrValue("execute"))
	require.Nil(t, first.Child(NSCommands, "actions").Child(NSCommands, "prev"))
	id := " node='play' sessionid='" + first.AttrValue("sessionid") + "'"
	require.Equal(t, "modify bad-request bad-action", why(set("action='prev'"+id)))
	require.Equal(t, "modify bad-request bad-action", why(set("action='complete'"+id, "name", "Macbeth")))
	require.Equal(t, "modify bad-request malformed-action", why(set("action='burn'"+id)))
	refused := set("action='next'"+id, "name", "")
	require.Equal(t, "modify bad-request bad-payload", why(refused))
	require.Equal(t, "play", refused.Payload().AttrValue("node"), "the error tells of which command")
	second := set("action='next'"+id, "name", "Macbeth").Payload()
	require.Equal(t, "Macbeth", second.Child(NSData, "x").Child(NSData, "title").Text())
	require.Equal(t, `<actions xmlns='http://jabber.org/protocol/commands' execute='complete'><prev/><complete/></actions>`,
		second.Child(NSCommands, "actions").String())
	require.Equal(t, "modify bad-request bad-action", why(set("action='next'"+id)))
	require.NotNil(t, set("action='prev'"+id).Payload().Child(NSCommands, "actions").Child(NSCommands, "next"))
	set(id, "name", "Hamlet")
	last := set(id, "day", "Monday").Payload()
	require.Equal(t, "completed", last.AttrValue("status"))
	require.Equal(t, "The stage is set.", last.Child(NSCommands, "note").Text())
	require.Equal(t, []string{"Hamlet on Monday"}, *done)
	require.Equal(t, "modify bad-request bad-sessionid", why(set(id, "day", "Monday")), "a session ends")
}

// A session belongs to its user and its command (XEP-0050 §3.3).
func TestCommandSession(t *testing.T) {
	var out kept
	sv, _ := theatre(&out)
	id := " sessionid='" + request(t, sv, &out, bard, "set", command("node='play'")).Payload().AttrValue("sessionid") + "'"
	require.Equal(t, "modify bad-request bad-sessionid", why(request(t, sv, &out, "bard@shakespeare.lit/swan", "set", command("node='play'"+id, "name", "a"))))
	require.Equal(t, "modify bad-request bad-sessionid", why(request(t, sv, &out, bard, "set", command("node='plays'"+id))))
	require.Equal(t, "canceled", request(t, sv, &out, bard, "set", command("node='play' action='cancel'"+id)).Payload().AttrValue("status"))
	require.Equal(t, "modify bad-request bad-sessionid", why(request(t, sv, &out, bard, "set", command("node='play' action='cancel'"+id))))
	require.Equal(t, "modify bad-request bad-action", why(request(t, sv, &out, bard, "set", command("node='play' action='cancel'"))))
	require.Equal(t, "cancel item-not-found", why(request(t, sv, &out, bard, "set", command("node='nothing'"))))
	require.Equal(t, "auth forbidden", why(request(t, sv, &out, bard, "set", command("node='burn'"))))
}

// A client that knows the form submits it with no session.
func TestCommandAtOnce(t *testing.T) {
	var out kept
	sv, _ := theatre(&out)
	got := request(t, sv, &out, bard, "set", command("node='play'", "name", "Macbeth")).Payload()
	require.Equal(t, "Macbeth", got.Child(NSData, "x").Child(NSData, "title").Text())
	require.Equal(t, "modify bad-request bad-payload", why(request(t, sv, &out, bard, "set", command("node='play' action='complete'"))))
	got = request(t, sv, &out, bard, "set", command("node='plays' action='complete'")).Payload()
	require.Equal(t, "completed", got.AttrValue("status"))
	require.Equal(t, `<x xmlns='jabber:x:data' type='result'><reported><field var='name' label='Name'/><field var='day'/></reported>`+
		`<item><field var='name'><value>Macbeth</value></field><field var='day'><value>Monday</value></field></item>`+
		`<item><field var='name'><value>Hamlet</value></field><field var='day'><value/></field></item></x>`, strings.ReplaceAll(got.Child(NSData, "x").String(), "<value></value>", "<value/>"))
}

// Dialogs are bounded by number and age.
func TestDialogsAreBounded(t *testing.T) {
	var d Dialogs
	cmds := []Command{{Node: "n", Do: func(c *Call) (*Reply, error) {
		if c.Form() == nil {
			return &Reply{Form: &Form{Type: "form"}}, nil
		}
		return &Reply{}, nil
	}}}
	now := time.Now()
	start := func(from string) (ask func(after time.Duration) string) {
		send := func(attrs string, at time.Time) *Stanza {
			s, err := ParseStanza(parse(t, NSAccept, "<iq id='i' to='play.lit' type='set' from='"+from+"'>"+command("node='n'"+attrs)+"</iq>"))
			require.NoError(t, err)
			answer, ok := d.Handle(cmds, s, at)
			require.True(t, ok)
			return answer
		}
		now = now.Add(time.Millisecond)
		id := send("", now).Payload().AttrValue("sessionid")
		return func(after time.Duration) string { return why(send(" sessionid='"+id+"'", now.Add(after))) }
	}
	late, tooLate := start(bard), start(bard)
	require.Equal(t, string(stanza.ResultIQ), late(dialogAge-time.Second))
	require.Equal(t, "cancel not-allowed session-expired", tooLate(dialogAge+time.Second))

	first, second := start(bard), start(bard)
	for i := range maxOfOne - 1 {
		start(fmt.Sprintf("bard@shakespeare.lit/%d", i))
	}
	require.Equal(t, "modify bad-request bad-sessionid", first(0))
	require.Equal(t, "result", second(0))

	other := start("a@b/c")
	for i := range maxDialogs + 10 {
		start(fmt.Sprintf("%d@shakespeare.lit/x", i))
	}
	require.Len(t, d.open, maxDialogs)
	require.Equal(t, "modify bad-request bad-sessionid", other(0))
}
