package muc

import (
	"math"
	"strings"
	"time"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// The fields of a query beside those of XEP-0313.
const (
	fieldFulltext = "{" + NSFulltext + "}fulltext" // XEP-0431
	fieldWithText = "withtext"                     // what it was called before
)

// mamFilters reads the form of a query (XEP-0313 §4.1).
func (r *room) mamFilters(ses *session, from jid.JID, own string, x *component.Element) (*query, error) {
	q := &query{room: r.addr.Localpart(), from: math.MinInt64, to: math.MaxInt64, before: math.MaxInt64, after: math.MinInt64}
	if x == nil {
		return q, nil
	}
	f := component.ParseForm(x)
	if f == nil || f.Type != "submit" || f.FormType != NSMAM {
		return nil, errBadRequest
	}
	for _, field := range f.Fields {
		v := strings.Join(field.Values, "\n")
		if v == "" {
			continue
		}
		var err error
		switch field.Var {
		case "start", "end":
			err = q.setTime(field.Var, v)
		case "with":
			err = r.setWith(q, ses, from, own, v)
		case "before-id", "after-id":
			id, ok := r.parseID(v)
			if !ok {
				return nil, errNotFound
			}
			q.known = append(q.known, id)
			if field.Var == "before-id" {
				q.to = min(q.to, id-1)
			} else {
				q.from = max(q.from, id+1)
			}
		case "ids":
			err = r.setIDs(q, field.Values)
		case fieldFulltext, fieldWithText:
			err = q.setText(v)
		default:
			return nil, errNotImplemented
		}
		if err != nil {
			return nil, err
		}
	}
	return q, nil
}

// setTime bounds a query by time. What a message's time is, is told in milliseconds, so
// that is how it is compared (XEP-0313 §4.1.2).
func (q *query) setTime(name, v string) error {
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return errBadRequest
	}
	whole := t.Truncate(time.Millisecond)
	if name == "end" {
		q.to = min(q.to, whole.Add(time.Millisecond).UnixMicro()-1)
		return nil
	}
	if whole.Before(t) {
		whole = whole.Add(time.Millisecond)
	}
	q.from = max(q.from, whole.UnixMicro())
	return nil
}

// setWith asks for who wrote messages: by occupant JID, or by real JID where that is no
// secret (XEP-0313 §4.1.1).
func (r *room) setWith(q *query, ses *session, from jid.JID, own, v string) error {
	j, err := component.ParseJID(v)
	switch {
	case err != nil:
		return errMalformed
	case j.Bare().Equal(r.addr):
		q.nick = j.Resourcepart()
		return nil
	}
	self := j.Bare().Equal(from.Bare())
	if !self && !r.cfg.NonAnon && !r.seesAll(ses, from.Bare()) {
		return errForbidden
	}
	q.jid, q.own = j.String(), own
	q.open = !self && !r.seesAll(ses, from.Bare())
	return nil
}

func (r *room) setIDs(q *query, ids []string) error {
	if len(ids) > maxPage {
		return errBadRequest
	}
	for _, text := range ids {
		id, ok := r.parseID(text)
		if !ok {
			return errNotFound
		}
		q.ids = append(q.ids, id)
	}
	return nil
}

// setText asks for messages in which all words are.
func (q *query) setText(v string) error {
	q.words = append(q.words, strings.Fields(v)...)
	if len(q.words) > 20 || len(v) > 1024 {
		return errBadRequest
	}
	return nil
}

// mamPage reads which page of the results is wanted (XEP-0313 §4.3).
func (r *room) mamPage(q *query, set *component.Element) error {
	p, err := parsePage(set, maxPage)
	switch {
	case err != nil:
		return err
	case p.index >= 0:
		return errNotImplemented // XEP-0059 §2.6
	}
	q.max, q.backwards = p.max, p.hasBefore
	if set.Child(NSRSM, "max") == nil {
		q.max = usualPage
	}
	for _, at := range []struct {
		text string
		to   *int64
	}{{p.before, &q.before}, {p.after, &q.after}} {
		if at.text == "" {
			continue
		}
		id, ok := r.parseID(at.text)
		if !ok {
			return errNotFound
		}
		q.known = append(q.known, id)
		*at.to = id
	}
	return nil
}
