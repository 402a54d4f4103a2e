package muc

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

var (
	errNotImplemented = fail(stanza.Cancel, stanza.FeatureNotImplemented, "")
	errTooSlow        = fail(stanza.Wait, stanza.ResourceConstraint, "The search took too long. Ask for a shorter time.")
)

// mayRead tells if somebody may read the archive: who is in the room, who belongs to it,
// and everybody where everybody may enter (XEP-0313 §6.1.2).
func (r *room) mayRead(ses *session, from jid.JID) error {
	aff := r.affiliation(from.Bare())
	switch {
	case aff == Outcast:
		return errForbidden
	case !r.archives():
		return errUnsupported
	case ses != nil, aff >= Member:
		return nil
	case r.cfg.MembersOnly, r.cfg.Protected, r.locked:
		return errForbidden
	}
	return nil
}

// lookUp has the store read something for who asked by s, and its answer sent.
func (r *room) lookUp(kind lane, user jid.JID, s *component.Stanza, do func(st *Store) (then func(r *room), err error)) {
	r.out.reads = append(r.out.reads, read{kind, user.Bare().String(), s, func(st *Store) func(*room) {
		then, err := do(st)
		switch {
		case errors.Is(err, errUnknownID):
			err = errNotFound
		case errors.Is(err, context.DeadlineExceeded):
			err = errTooSlow
		case err != nil:
			slog.Error("the archive of a room cannot be read", "error", err)
		}
		if err != nil {
			return func(r *room) { r.refuse(s, err) }
		}
		return then
	}})
}

// mamForm tells what can be asked for (XEP-0313 §4.1.5).
func (r *room) mamForm(ses *session, s *component.Stanza) error {
	if err := r.mayRead(ses, s.From); err != nil {
		return err
	}
	f := component.Form{Type: "form", FormType: NSMAM}
	for _, name := range []string{"with", "start", "end", "before-id", "after-id", "ids", fieldFulltext} {
		typ := map[string]string{"with": "jid-single", "ids": "list-multi"}[name]
		if typ == "" {
			typ = "text-single"
		}
		f.Fields = append(f.Fields, component.Field{Var: name, Type: typ})
	}
	x := f.Element()
	for _, n := range x.Nodes {
		if n.Element != nil && n.Element.AttrValue("var") == "ids" {
			n.Element.Add(component.NewElement(NSValidate, "validate", component.NewElement(NSValidate, "open").Node()).With("datatype", "xs:string"))
		}
	}
	r.result(s, component.NewElement(NSMAM, "query", x.Node()))
	return nil
}

// mamPrefs refuses what is a matter of a user's own archive (XEP-0441 §2.1).
func (r *room) mamPrefs(*session, *component.Stanza) error { return errNotImplemented }

// mamMetadata tells where the archive begins and ends (XEP-0313 §5).
func (r *room) mamMetadata(ses *session, s *component.Stanza) error {
	if err := r.mayRead(ses, s.From); err != nil {
		return err
	}
	name, since := r.addr.Localpart(), r.keptSince()
	r.lookUp(rowLane, s.From, s, func(st *Store) (func(*room), error) {
		first, last, ok, err := st.ends(name, since)
		return func(r *room) {
			e := component.NewElement(NSMAM, "metadata")
			if ok {
				end := func(name string, id int64) *component.Element {
					return component.NewElement(NSMAM, name).With("id", r.idText(id)).With("timestamp", idTime(id).Format(stampFormat))
				}
				e.Add(end("start", first), end("end", last))
			}
			r.result(s, e)
		}, err
	})
	return nil
}

// mamQuery answers a query of the archive (XEP-0313 §4).
func (r *room) mamQuery(ses *session, s *component.Stanza) error {
	if err := r.mayRead(ses, s.From); err != nil {
		return err
	}
	e := s.Payload()
	if e.AttrValue("node") != "" {
		return errNotFound
	}
	own := r.occupantID(s.From.Bare())
	q, err := r.mamFilters(ses, s.From, own, e.Child(component.NSData, "x"))
	if err != nil {
		return err
	}
	if err := r.mamPage(q, e.Child(NSRSM, "set")); err != nil {
		return err
	}
	since := r.keptSince()
	q.from = max(q.from, since)
	if slices.ContainsFunc(append(q.known, q.ids...), func(id int64) bool { return id < since }) {
		return errNotFound
	}
	a := &mamAnswer{s: s, own: own, queryID: e.AttrValue("queryid"), flip: e.Child(NSMAM, "flip-page") != nil,
		all: r.seesAll(ses, s.From.Bare()), open: r.cfg.NonAnon}
	kind := pageLane
	if !q.indexed() {
		kind = searchLane
	}
	r.lookUp(kind, s.From, s, func(st *Store) (func(*room), error) {
		p, err := st.search(q)
		return func(r *room) { a.send(r, p) }, err
	})
	return nil
}

// keptSince is the least id that a message can have that is not too old for the archive, as
// it is configured now. What is older may not be deleted yet, but is not told.
func (r *room) keptSince() int64 { return keepingOf(r.cfg, r.limits, r.now).since }

// seesAll tells if somebody may see all real JIDs, those of before too.
func (r *room) seesAll(ses *session, bare jid.JID) bool {
	return r.affiliation(bare) >= Admin || ses != nil && ses.occ.role == Moderator
}

// A mamAnswer is how a page is sent.
type mamAnswer struct {
	s            *component.Stanza
	own, queryID string
	flip         bool
	all          bool // with all real JIDs
	open         bool // with those that everybody could see
}

func (a *mamAnswer) send(r *room, p *page) {
	to := component.NewRecipient(a.s.From)
	n := len(p.messages)
	for i := range p.messages {
		m := &p.messages[i]
		if a.flip {
			m = &p.messages[n-1-i]
		}
		out := &component.Stanza{Kind: component.Message, From: r.addr}
		r.copy(component.NewDraft(out, a.result(r, m), nil, nil), &to, true)
	}
	first, last := "", ""
	if n > 0 {
		first, last = r.idText(p.messages[0].id), r.idText(p.messages[n-1].id)
	}
	fin := component.NewElement(NSMAM, "fin", resultSet(first, last, p.index, p.count).Node())
	if !p.more {
		fin.SetAttr("complete", "true")
	}
	r.result(a.s, fin)
}

// result is one message of the archive (XEP-0313 §4.2, §6.1.2).
func (a *mamAnswer) result(r *room, m *stored) []byte {
	dst := append(make([]byte, 0, len(m.xml)+512), "<result xmlns='"+NSMAM+"'"...)
	if a.queryID != "" {
		dst = component.AppendAttr(dst, "queryid", a.queryID)
	}
	dst = append(r.appendID(append(dst, " id='"...), m.id), "'><forwarded xmlns='"+NSForward+"'><delay xmlns='"+NSDelay+"'"...)
	dst = component.AppendAttr(dst, "stamp", idTime(m.id).Format(stampFormat))
	// It was written where the default namespace is that of the stream.
	const open, close = "<message", "</message>"
	dst = append(dst, "/>"+open+" xmlns='"+component.NSClient+"'"...)
	dst = append(dst, m.xml[len(open):len(m.xml)-len(close)]...)
	if m.jid != "" && (a.all || a.open && m.open || m.occupant == a.own) {
		dst = r.appendAuthor(dst, m)
	}
	return append(dst, close+"</forwarded></result>"...)
}

// appendAuthor appends who wrote a message, and what that user is to the room now.
func (r *room) appendAuthor(dst []byte, m *stored) []byte {
	aff, role := None, NoRole
	if j, err := jid.Parse(m.jid); err == nil {
		aff = r.affiliation(j.Bare())
		if o := r.nicks.get(m.nick); o != nil && o.bare().Equal(j.Bare()) {
			role = o.role
		}
	}
	dst = append(dst, "<x xmlns='"+NSUser+"'><item affiliation='"...)
	dst = append(append(dst, aff.String()...), "' role='"...)
	dst = component.AppendAttr(append(append(dst, role.String()...), '\''), "jid", m.jid)
	return append(dst, "/></x>"...)
}
