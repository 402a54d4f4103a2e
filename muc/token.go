package muc

import (
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// needsToken tells if what somebody brought as password may be an invitation, and how to
// look it up.
func (r *room) needsToken(aff Affiliation, x *component.Element) (look func(bare jid.JID, then func(r *room, member bool)) read, ok bool) {
	return nil, false
}

func (r *room) becomeMember(bare jid.JID) {
	r.setAffiliation(action{jid: bare, level: Member}, "")()
}
