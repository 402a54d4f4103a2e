package muc

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// commandXML is a request to execute a command, with a form if there are fields.
func commandXML(node string, fields ...string) string {
	x := ""
	for i := 0; i < len(fields); i += 2 {
		x += "<field var='" + fields[i] + "'><value>" + fields[i+1] + "</value></field>"
	}
	if fields != nil {
		x = "<x xmlns='jabber:x:data' type='submit'>" + x + "</x>"
	}
	return "<command xmlns='" + NSCommands + "' node='" + node + "'>" + x + "</command>"
}

// command executes a command of a room, or of the service where room is "". It returns the
// answer, and what was sent beside it.
func (w *world) command(who, room, node string, fields ...string) (answer *component.Stanza, others []*component.Stanza) {
	w.t.Helper()
	to := domain
	if room != "" {
		to = room + "@" + domain
	}
	all := w.send("<iq type='set' id='cmd' from='" + who + "' to='" + to + "'>" + commandXML(node, fields...) + "</iq>")
	for _, s := range all {
		if s.Kind == component.IQ && s.ID == "cmd" {
			require.Nil(w.t, answer, "%v", all)
			answer = s
		} else {
			others = append(others, s)
		}
	}
	require.NotNil(w.t, answer, "%v", all)
	if room != "" {
		require.Same(w.t, answer, all[0], "who asks hears of it first")
	}
	return answer, others
}

// do is command where nothing but completion will do.
func (w *world) do(who, room, node string, fields ...string) (form *component.Form, others []*component.Stanza) {
	w.t.Helper()
	answer, others := w.command(who, room, node, fields...)
	require.Equal(w.t, "result", answer.Type, "%v", answer)
	require.Equal(w.t, "completed", answer.Payload().AttrValue("status"), "%v", answer)
	return component.ParseForm(answer.Payload().Child(component.NSData, "x")), others
}

// rows are the rows of the table in an answer, the values joined by blanks.
func rows(answer *component.Stanza) []string {
	var rows []string
	for _, n := range answer.Payload().Child(component.NSData, "x").Nodes {
		if !n.Element.Is(component.NSData, "item") {
			continue
		}
		var values []string
		for _, f := range n.Element.Nodes {
			values = append(values, f.Element.Child(component.NSData, "value").Text())
		}
		rows = append(rows, strings.Join(values, " "))
	}
	return rows
}

// nodes are the commands that are listed to somebody.
func (w *world) nodes(who, to string) []string {
	w.t.Helper()
	s := w.only(w.send("<iq type='get' id='get' from='"+who+"' to='"+to+"'><query xmlns='"+component.NSDiscoItem+"' node='"+NSCommands+"'/></iq>"), who)
	require.Equal(w.t, "result", s.Type, "%v", s)
	var nodes []string
	for _, n := range s.Payload().Nodes {
		require.Equal(w.t, to, n.Element.AttrValue("jid"))
		nodes = append(nodes, n.Element.AttrValue("node"))
	}
	return nodes
}

// XEP-0050 §2.2 at a room: each sees the commands that are for them.
func TestCommandsOfARoom(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	const addr = "coven@" + domain
	require.Len(t, w.nodes(crone1, addr), 9)
	require.Equal(t, []string{"urn:xmpp:hats:commands:list"}, w.nodes(crone2, addr))
	require.Empty(t, w.nodes(hag, addr))
	info := func(who, node string) *component.Stanza {
		return w.get(who, "coven", "<query xmlns='"+component.NSDiscoInfo+"' node='"+node+"'/>")
	}
	require.Equal(t, "command-node", info(crone1, "urn:xmpp:hats:commands:create").Payload().Child(component.NSDiscoInfo, "identity").AttrValue("type"))
	require.Equal(t, "auth/forbidden", condition(info(crone2, "urn:xmpp:hats:commands:create")))
	require.Equal(t, "cancel/item-not-found", condition(info(crone1, "nothing")))
	require.Contains(t, info(crone1, "").String(), "var='"+NSCommands+"'")
	answer, _ := w.command(crone1, "coven", "nothing")
	require.Equal(t, "cancel/item-not-found", condition(answer))
	answer, _ = w.command(crone2, "coven", NSAllium+"#invite")
	require.Equal(t, "auth/forbidden", condition(answer))
	// A room that one may not know of answers as one that is not there.
	w.configure(crone1, "coven", "muc#roomconfig_publicroom", "0")
	answer, _ = w.command(hag, "coven", "urn:xmpp:hats:commands:list")
	require.Equal(t, "cancel/item-not-found", condition(answer))
}

// A room keeps the session of a command with several requests (XEP-0050 §3.3).
func TestCommandSessionOfARoom(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	answer, _ := w.command(crone1, "coven", "urn:xmpp:hats:commands:create")
	c := answer.Payload()
	require.Equal(t, "executing", c.AttrValue("status"))
	form := component.ParseForm(c.Child(component.NSData, "x"))
	require.Equal(t, "urn:xmpp:hats:commands", form.FormType)
	require.Equal(t, []string{"hats#title", "hats#uri", "hats#hue"}, []string{form.Fields[0].Var, form.Fields[1].Var, form.Fields[2].Var})
	submit := strings.Replace(commandXML("urn:xmpp:hats:commands:create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe"),
		"<command ", "<command sessionid='"+c.AttrValue("sessionid")+"' ", 1)
	s := w.set(crone1, "coven", submit)[0]
	require.Equal(t, "completed", s.Payload().AttrValue("status"), "%v", s)
	require.Equal(t, "modify/bad-request", condition(w.set(crone1, "coven", submit)[0]), "the session is over")
}

// XEP-0050 §2.4, XEP-0004 §3.3: where there is nothing to choose from, no form asks for a choice.
func TestNothingToChoose(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	ask := func(node string) (status, note string) {
		answer, _ := w.command(crone1, "coven", node)
		return answer.Payload().AttrValue("status"), answer.Payload().Child(NSCommands, "note").Text()
	}
	nodes := []string{NSAllium + "#revoke-invitation", hatNode + "destroy", hatNode + "assign", hatNode + "unassign"}
	for _, node := range nodes {
		status, note := ask(node)
		require.Equal(t, "completed", status, node)
		require.Contains(t, note, "There are no", node)
	}
	w.link(crone1, "coven")
	w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", "urn:h:scribe")
	for _, node := range nodes {
		status, _ := ask(node)
		require.Equal(t, "executing", status, node)
	}
}

// XEP-0317 §3.2: nobody has to invent the URI of a hat.
func TestURIOfANewHat(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	uris := map[string]bool{}
	for range 2 {
		answer, _ := w.command(crone1, "coven", hatNode+"create")
		uri := component.ParseForm(answer.Payload().Child(component.NSData, "x")).Value("hats#uri")
		require.Contains(t, uri, "urn:uuid:")
		w.do(crone1, "coven", hatNode+"create", "hats#title", "Scribe", "hats#uri", uri)
		uris[uri] = true
	}
	require.Len(t, uris, 2)
	list, _ := w.command(crone1, "coven", hatNode+"list")
	require.Len(t, rows(list), 2)
}

// XEP-0004 §3.4: the columns of a table that hold addresses say so, by which a gateway knows them.
func TestColumnsOfAddresses(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Admins = []jid.JID{jid.MustParse(bare(crone1))} })
	w.open(crone1, "coven", "firstwitch")
	for command, want := range map[string]string{NSAllium + "#invitations": "creator", hatNode + "list-assigned": "hats#jid"} {
		answer, _ := w.command(crone1, "coven", command)
		require.Equal(t, []string{want}, columnsOfAddresses(answer))
	}
	answer, _ := w.command(crone1, "", NSAllium+"#rooms", "search", "")
	require.Equal(t, []string{"room", "creator"}, columnsOfAddresses(answer))
}

func columnsOfAddresses(answer *component.Stanza) (columns []string) {
	for _, n := range answer.Payload().Child(component.NSData, "x").Child(component.NSData, "reported").Nodes {
		if n.Element.AttrValue("type") == "jid-single" {
			columns = append(columns, n.Element.AttrValue("var"))
		}
	}
	return columns
}
