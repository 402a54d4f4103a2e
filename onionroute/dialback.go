package onionroute

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"

	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// A dialback element asks for, or answers, a verification (XEP-0220 §2).
type dialback struct {
	name      string // "result" or "verify"
	from, to  string
	id        string // of the stream in question; verify only
	typ       string // "" in a question; "valid", "invalid", "error" in an answer
	key       string
	condition stanza.Condition // of type error (XEP-0220 §2.5)
}

func parseDialback(e *component.Element) dialback {
	d := dialback{name: e.Name.Local, from: e.AttrValue("from"), to: e.AttrValue("to"),
		id: e.AttrValue("id"), typ: e.AttrValue("type"), key: e.Text()}
	if d.typ == "error" {
		s := component.Stanza{Nodes: e.Nodes}
		d.condition = s.StanzaError().Condition
	}
	return d
}

func (d dialback) element() *component.Element {
	e := component.NewElement(nsDialback, d.name).With("from", d.from).With("to", d.to)
	e.Prefix = "db"
	if d.id != "" {
		e.SetAttr("id", d.id)
	}
	if d.typ != "" {
		e.SetAttr("type", d.typ)
	}
	if d.key != "" {
		e.SetText(d.key)
	}
	if d.typ == "error" {
		e.Add(component.NewElement(component.NSClient, "error",
			component.NewElement(component.NSStanzas, string(d.condition)).Node()).With("type", "cancel"))
	}
	return e
}

// answer makes the answer to a question.
func (d dialback) answer(typ string) dialback {
	return dialback{name: d.name, from: d.to, to: d.from, id: d.id, typ: typ}
}

func (d dialback) refuse(c stanza.Condition) dialback {
	a := d.answer("error")
	a.condition = c
	return a
}

// A secret makes dialback keys. It is good for as long as the process runs: a key is
// asked for on behalf of a stream that we have open.
type secret []byte

func newSecret() secret { return secret(rand.Text()) }

// key is the dialback key for a stream from originating to receiving domain whose
// header, sent by the receiving server, has that id (XEP-0185 §3).
func (s secret) key(receiving, originating, id string) string {
	hashed := sha256.Sum256(s)
	h := hmac.New(sha256.New, []byte(hex.EncodeToString(hashed[:])))
	h.Write([]byte(receiving + " " + originating + " " + id))
	return hex.EncodeToString(h.Sum(nil))
}

// valid tells if the key is one that we made.
func (s secret) valid(receiving, originating, id, key string) bool {
	return hmac.Equal([]byte(s.key(receiving, originating, id)), []byte(key))
}
