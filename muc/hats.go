package muc

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/allium-xmpp/allium/component"
)

// A hat is a title that a user wears in the room (XEP-0317).
type hat struct{ uri, title, hue string }

// What is kept of hats.
const (
	maxHats    = 100  // in a room
	maxWorn    = 20   // by one user
	maxWearers = 1000 // in a room
)

// hatsOf are what an occupant wears, in the order of their URIs.
func (r *room) hatsOf(o *occupant) []hat {
	if len(r.wearers) == 0 {
		return nil
	}
	worn := r.wearers[o.bare().String()]
	hats := make([]hat, len(worn))
	for i, uri := range worn {
		hats[i] = r.hats[uri]
	}
	return hats
}

func appendHats(dst []byte, hats []hat) []byte {
	if len(hats) == 0 {
		return dst
	}
	dst = append(dst, "<hats xmlns='"+NSHats+"'>"...)
	for _, h := range hats {
		dst = component.AppendAttr(append(dst, "<hat"...), "title", h.title)
		dst = component.AppendAttr(dst, "uri", h.uri)
		if h.hue != "" {
			dst = component.AppendAttr(dst, "hue", h.hue)
		}
		dst = append(dst, '/', '>')
	}
	return append(dst, "</hats>"...)
}

// showHats tells everybody what somebody wears now.
func (r *room) showHats(bare string) {
	for _, o := range r.list {
		if o.bare().String() == bare {
			r.retell(o, nil)
		}
	}
}

// showHatsLater is showHats for some, when who changed that has got an answer.
func (r *room) showHatsLater(bare ...string) {
	for _, bare := range bare {
		r.tellLater(func() { r.showHats(bare) })
	}
}

// wear gives somebody a hat. It is false if it is worn already.
func (r *room) wear(bare, uri string) bool {
	i, worn := slices.BinarySearch(r.wearers[bare], uri)
	if worn {
		return false
	}
	if r.wearers == nil {
		r.wearers = map[string][]string{}
	}
	r.wearers[bare] = slices.Insert(r.wearers[bare], i, uri)
	return true
}

// takeOff takes a hat from somebody. It is false if it is not worn.
func (r *room) takeOff(bare, uri string) bool {
	i, worn := slices.BinarySearch(r.wearers[bare], uri)
	if !worn {
		return false
	}
	if r.wearers[bare] = slices.Delete(r.wearers[bare], i, i+1); len(r.wearers[bare]) == 0 {
		delete(r.wearers, bare)
	}
	return true
}

// wearersOf are those who wear a hat.
func (r *room) wearersOf(uri string) []string {
	var all []string
	for _, bare := range slices.Sorted(maps.Keys(r.wearers)) {
		if _, worn := slices.BinarySearch(r.wearers[bare], uri); worn {
			all = append(all, bare)
		}
	}
	return all
}

// hatsHash tells clients if the hats that there are have changed (XEP-0317 §2). It is ""
// if there are none.
func (r *room) hatsHash() string {
	if len(r.hats) == 0 {
		return ""
	}
	h := sha256.New()
	for _, uri := range slices.Sorted(maps.Keys(r.hats)) {
		for _, part := range []string{uri, r.hats[uri].title, r.hats[uri].hue} {
			h.Write(append([]byte(part), 0))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// saveHat stores a hat.
type saveHat struct{ Room, URI, Title, Hue string }

func (c saveHat) apply(t *transaction) error {
	return t.exec(`INSERT INTO hat (room, uri, title, hue) VALUES (?, ?, ?, ?)
		ON CONFLICT (room, uri) DO UPDATE SET title = excluded.title, hue = excluded.hue`, c.Room, c.URI, c.Title, c.Hue)
}

// dropHat forgets a hat, also where it is worn.
type dropHat struct{ Room, URI string }

func (c dropHat) apply(t *transaction) error {
	if err := t.exec("DELETE FROM wearer WHERE room = ? AND uri = ?", c.Room, c.URI); err != nil {
		return err
	}
	return t.exec("DELETE FROM hat WHERE room = ? AND uri = ?", c.Room, c.URI)
}

// saveWearer stores that somebody wears a hat, or does so no more.
type saveWearer struct {
	Room, JID, URI string
	Worn           bool
}

func (c saveWearer) apply(t *transaction) error {
	if !c.Worn {
		return t.exec("DELETE FROM wearer WHERE room = ? AND jid = ? AND uri = ?", c.Room, c.JID, c.URI)
	}
	return t.exec("INSERT INTO wearer (room, jid, uri) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", c.Room, c.JID, c.URI)
}

// loadHats reads the hats of a room.
func (st *Store) loadHats(r *room) error {
	name := r.addr.Localpart()
	err := st.each("SELECT uri, title, hue FROM hat WHERE room = ?", func(scan func(...any) error) error {
		var h hat
		err := scan(&h.uri, &h.title, &h.hue)
		r.putHat(h)
		return err
	}, name)
	if err != nil {
		return err
	}
	return st.each("SELECT jid, uri FROM wearer WHERE room = ?", func(scan func(...any) error) error {
		var bare, uri string
		err := scan(&bare, &uri)
		r.wear(bare, uri)
		return err
	}, name)
}

func (r *room) putHat(h hat) {
	if r.hats == nil {
		r.hats = map[string]hat{}
	}
	r.hats[h.uri] = h
}
