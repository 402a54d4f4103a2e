package muc

import (
	"strconv"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// A past is a message that was sent in the room, and when.
type past struct {
	draft *component.Draft
	id    int64
	from  string // occupant id, for moderation
	dated bool   // by an owner, who brought it along (XEP-0045 §7.9)
}

// keep puts a message into the history and the archive, if that is for later.
func (r *room) keep(o *occupant, s *component.Stanza, d *component.Draft, id int64) {
	if s.Child(NSHints, "no-store") != nil || s.Child(NSHints, "no-permanent-store") != nil && s.Child(NSHints, "store") == nil {
		return
	}
	body := s.Body()
	if !worthKeeping(s, body) {
		return
	}
	if r.archives() {
		r.change(saveMessage{Room: r.addr.Localpart(), ID: id, Nick: o.nick, JID: o.bare.String(), OccupantID: o.id, Body: body, XML: d.XML()})
	}
	if limit := r.historyLength(); limit > 0 {
		if len(r.history) >= limit {
			n := copy(r.history, r.history[len(r.history)-limit+1:])
			clear(r.history[n:])
			r.history = r.history[:n]
		}
		r.history = append(r.history, past{draft: d, id: id, from: o.id, dated: o.affiliation == Owner && s.Child(NSDelay, "delay") != nil})
	}
}

// worthKeeping tells if a message is more than a sign of the moment, such as a chat state
// (XEP-0085) alone (XEP-0313 §5.1.1).
func worthKeeping(s *component.Stanza, body string) bool {
	if body != "" || s.Child(NSHints, "store") != nil {
		return true
	}
	for _, n := range s.Nodes {
		if n.Element == nil {
			continue
		}
		switch n.Element.Name.Space {
		case NSChatStates, NSHints, NSSID, NSOccupantID, component.NSClient:
		default:
			return true
		}
	}
	return false
}

// archives tells if messages in the room are kept for longer than it is in memory.
func (r *room) archives() bool { return r.cfg.Archive && !r.limits.NoArchive }

func (r *room) historyLength() int { return min(r.cfg.History, r.limits.History) }

// sendHistory sends what was said before (XEP-0045 §7.2.13, §7.2.14).
func (r *room) sendHistory(ses *session, asked *component.Element) {
	past := r.history
	past = past[max(0, len(past)-r.historyLength()):]
	if asked != nil {
		if n, ok := number(asked, "maxstanzas"); ok {
			past = past[max(0, len(past)-n):]
		}
		since := time.Time{}
		if n, ok := number(asked, "seconds"); ok {
			since = r.now.Add(-time.Duration(min(n, 1<<30)) * time.Second)
		}
		if at, err := time.Parse(time.RFC3339, asked.AttrValue("since")); err == nil && at.After(since) {
			since = at
		}
		for len(past) > 0 && !idTime(past[0].id).Truncate(time.Millisecond).After(since) {
			past = past[1:]
		}
	}
	drafts := make([]*component.Draft, len(past))
	from := component.AppendAttr(nil, "from", r.addr.String())
	size, first := 0, len(past)
	most, limited := 0, false
	if asked != nil {
		most, limited = number(asked, "maxchars")
	}
	for i := len(past) - 1; i >= 0; i-- {
		if drafts[i] = past[i].draft; !past[i].dated {
			late := append([]byte("<delay xmlns='"+NSDelay+"'"), from...)
			late = component.AppendAttr(late, "stamp", idTime(past[i].id).Format(stampFormat))
			drafts[i] = drafts[i].With(append(late, '/', '>'))
		}
		if size += drafts[i].SizeTo(ses.to); limited && size > most {
			break
		}
		first = i
	}
	for _, d := range drafts[first:] {
		r.copy(d, ses.to, true)
	}
}

// number is an attribute that is a number.
func number(e *component.Element, name string) (int, bool) {
	v, ok := e.LookupAttr(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(v)
	return max(n, 0), err == nil
}

// forgetMessage takes a message out of the history.
func (r *room) forgetMessage(id int64) {
	for i := range r.history {
		if r.history[i].id == id {
			r.history = append(r.history[:i:i], r.history[i+1:]...)
			return
		}
	}
}
