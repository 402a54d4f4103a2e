package muc

import (
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// absent shows members with a registered nickname who are not there to who enters, where
// the room is configured so (XEP-0045 §12, status 102).
func (r *room) absent(ses *session) {
	if !r.cfg.ShowMembers {
		return
	}
	var nicks []string
	of := map[string]string{}
	for _, a := range r.affiliates {
		if a.nick != "" && a.level >= Member && r.nicks.get(a.nick) == nil {
			nicks = append(nicks, a.nick)
			of[a.nick] = a.jid
		}
	}
	slices.Sort(nicks)
	for _, nick := range nicks {
		r.copy(r.absentee(nick, of[nick]), &ses.to, r.seesJIDs(ses.occ))
	}
}

// absentee is the presence of a member who is not there.
func (r *room) absentee(nick, bare string) *component.Draft {
	s := &component.Stanza{Kind: component.Presence, Type: string(stanza.UnavailablePresence), From: r.nickJID(nick)}
	x := append([]byte("<x xmlns='"+NSUser+"'><item affiliation='"), r.affiliates.get(bare).level.String()...)
	x = append(x, "' role='none'"...)
	after := appendOccupantID([]byte("/></x>"), r.occupantID(jid.MustParse(bare)))
	return component.NewDraft(s, x, component.AppendAttr(nil, "jid", bare), after)
}
