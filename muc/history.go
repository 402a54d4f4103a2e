package muc

import (
	"bytes"
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
	p := past{by: by, id: id, dated: dated}
	before, after := r.surround(&p)
	xml, framed := bytes.CutPrefix(d.XML(), before)
	if framed {
		xml, framed = bytes.CutSuffix(xml, after)
	}
	if !framed {
		xml, p.whole = d.XML(), true
	}
	r.history.add(p, xml, limit)
}

// wantsHistory tells if the history has to be in memory before s is handled, and is not.
func (r *room) wantsHistory(s *component.Stanza) bool {
	if r.warm || r.lastID == 0 || !r.archives() {
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
	if r.warm && r.archives() && longAgo(r.entered, r.now, coolAfter) {
		r.warm, r.history = false, history{}
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
	past := r.history.list
	past = past[max(0, len(past)-r.historyLength()):]
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
	most, limited := 0, false
	if asked != nil {
		most, limited = number(asked, "maxchars")
	}
	drafts := make([]*component.Draft, 0, len(past))
	for p, xml := range r.history.newest() {
		if len(drafts) == len(past) {
			break
		}
		d := r.late(p, xml)
		if most -= d.SizeTo(&ses.to); limited && most < 0 {
			break
		}
		drafts = append(drafts, d)
	}
	for _, d := range slices.Backward(drafts) {
		r.copy(d, &ses.to, true)
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
	r.history, r.warm = history{}, true
	r.change(dropArchive{Room: r.addr.Localpart(), LastID: r.lastID})
}

// forgetMessage takes a message out of the history.
func (r *room) forgetMessage(id int64) {
	if i := slices.IndexFunc(r.history.list, func(p past) bool { return p.id == id }); i >= 0 {
		r.history.drop(i, i+1)
	}
}
