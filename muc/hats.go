package muc

import (
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// A hat is a title that a user wears in the room (XEP-0317).
type hat struct{ uri, title, hue string }

func (r *room) hatsOf(bare jid.JID) []hat { return nil }

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
