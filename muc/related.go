package muc

import (
	"log/slog"

	"mellium.im/xmpp/jid"
)

// Related tells if two users (bare JIDs) belong to one room whose members see each other's
// addresses, as members or more: these encrypt to each other, in the room or not. Whom
// somebody made a member who may not have the room write to them is none until they come, or
// by asking for keys their server would be written to all the same. It asks the store.
func (sv *Service) Related(a, b jid.JID) bool {
	related := false
	err := sv.store.each(`SELECT a.room FROM affiliate AS a JOIN affiliate AS b ON a.room = b.room
		WHERE a.jid = ? AND b.jid = ? AND a.level >= ? AND b.level >= ? AND NOT a.far AND NOT b.far`, func(scan func(...any) error) error {
		var room string
		if err := scan(&room); err != nil {
			return err
		}
		sv.mu.Lock()
		r, ok := sv.index[room]
		related = related || ok && r.Config.NonAnon
		sv.mu.Unlock()
		return nil
	}, a.Bare().String(), b.Bare().String(), int(Member), int(Member))
	if err != nil {
		slog.Error("the rooms that two people share cannot be read", "error", err)
	}
	return related
}
