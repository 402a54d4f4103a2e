package muc

import (
	"slices"
	"strconv"
	"time"

	"github.com/allium-xmpp/allium/component"
)

// keep puts a message into the history and the archive, if that is for later.
func (r *room) keep(o *occupant, s *component.Stanza, d *component.Draft, id int64) {
	archived, replayed := worthKeeping(s)
	dated := o.affiliation == Owner && s.Child(NSDelay, "delay") != nil
	if archived {
		how := notReplayed
		switch {
		case replayed && dated:
			how = replayedDated
		case replayed:
			how = replayedLate
		}
		r.archive(o, s, d, id, how)
	}
	if replayed {
		r.addPast(d, o.voice, id, dated)
	}
}

// addPast puts a message into the history. Where there is an archive, it is read from there
// when somebody enters, and kept in memory for a while only.
func (r *room) addPast(d *component.Draft, by *voice, id int64, dated bool) {
	limit := r.historyLength()
	if limit <= 0 || r.archives() && !r.warm {
		return
	}
	if len(r.history) >= limit {
		n := copy(r.history, r.history[len(r.history)-limit+1:])
		clear(r.history[n:])
		r.history = r.history[:n]
	}
	if n := len(r.history); n == cap(r.history) {
		r.history = append(make([]past, 0, min(limit, n+n/4+2)), r.history...) // by less than append would
	}
	r.history = shortened(append(r.history, r.newPast(d, by, id, dated)))
}

// maxHistory bounds the history in memory, in octets: it is also what everybody gets who
// enters.
const maxHistory = 1 << 20

// shortened is a history without the oldest messages, if it is too large.
func shortened(history []past) []past {
	size, first := 0, len(history)
	for ; first > 0; first-- {
		if size += history[first-1].size(); size > maxHistory {
			break
		}
	}
	n := copy(history, history[first:])
	clear(history[n:])
	return history[:n]
}

// wantsHistory tells if the history has to be in memory before s is handled, and is not.
func (r *room) wantsHistory(s *component.Stanza) bool {
	if r.warm || r.lastID == 0 || !r.archives() || !joins(s) {
		return false
	}
	asked := s.Child(NSMUC, "x").Child(NSMUC, "history")
	for _, name := range []string{"maxstanzas", "maxchars"} {
		if n, ok := number(asked, name); ok && n == 0 {
			return false
		}
	}
	return true
}

// cool takes out of memory what nobody needed for a while: the history, and who left.
func (r *room) cool() {
	r.forgetComings()
	if r.warm && r.archives() && r.now.Add(-coolAfter).Unix() > r.entered {
		r.warm, r.history = false, nil
	}
}

// archives tells if the room keeps an archive.
func (r *room) archives() bool { return r.cfg.Archive && !r.limits.NoArchive }

// archive puts a message into the archive.
func (r *room) archive(o *occupant, s *component.Stanza, d *component.Draft, id int64, how replay) {
	if r.archives() {
		r.change(saveMessage{Room: r.addr.Localpart(), ID: id, Nick: o.nick, JID: s.From.String(), OccupantID: o.id,
			Body: s.Body(), XML: d.XML(), Replay: how, Open: r.cfg.NonAnon})
	}
}

// worthKeeping tells if a message is more than a sign of the moment, such as a chat state
// (XEP-0085) alone (XEP-0313 §6.1), and if it is also for those who come later without
// asking the archive, which a marker (XEP-0333) alone is not. Retractions are always kept
// (XEP-0424 §5).
func worthKeeping(s *component.Stanza) (archived, replayed bool) {
	hint := func(name string) bool { return s.Child(NSHints, name) != nil }
	switch {
	case s.Child(NSRetract, "retract") != nil:
		return true, true
	case hint("no-store"):
		return false, false
	case s.Body() != "" || hint("store"):
		kept := hint("store") || !hint("no-permanent-store")
		return kept, kept
	case hint("no-permanent-store"):
		return false, false
	}
	for _, n := range s.Nodes {
		if n.Element == nil {
			continue
		}
		switch n.Element.Name.Space {
		case NSChatStates, NSHints, NSSID, NSOccupantID, component.NSClient:
		case NSMarkers:
			archived = true
		default:
			return true, true
		}
	}
	return archived, false
}

// historyLength is how many messages who enters gets.
func (r *room) historyLength() int {
	n := min(r.cfg.History, r.limits.History)
	if keep := smallest(r.cfg.KeepNumber, r.limits.KeepNumber); keep > 0 {
		n = min(n, keep)
	}
	return n
}

// recent is the history that is not older than what the room keeps.
func (r *room) recent() []past {
	past := r.history[max(0, len(r.history)-r.historyLength()):]
	if days := smallest(r.cfg.KeepDays, r.limits.KeepDays); days > 0 {
		for len(past) > 0 && past[0].id < daysBefore(r.now, days) {
			past = past[1:]
		}
	}
	return past
}

// sendHistory sends what was said before (XEP-0045 §7.2.13, §7.2.14).
func (r *room) sendHistory(ses *session, asked *component.Element) {
	past := r.recent()
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
	size, first := 0, len(past)
	most, limited := 0, false
	if asked != nil {
		most, limited = number(asked, "maxchars")
	}
	for i := len(past) - 1; i >= 0; i-- {
		drafts[i] = r.late(&past[i])
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

// forgetAll forgets what was said, when the archive is switched off: nobody is to get it
// any more, also if it is switched on again.
func (r *room) forgetAll() {
	r.history, r.warm = nil, true
	r.change(dropArchive{Room: r.addr.Localpart(), LastID: r.lastID})
}

// forgetMessage takes a message out of the history.
func (r *room) forgetMessage(id int64) {
	r.history = slices.DeleteFunc(r.history, func(p past) bool { return p.id == id })
}
