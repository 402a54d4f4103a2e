package muc

import (
	"bytes"
	"iter"
	"slices"

	"github.com/allium-xmpp/allium/component"
)

// A history is the last messages of a room. Most of the memory of a room without an archive
// is this, so it is two pieces and no more, and little larger than what is in it.
type history struct {
	list []past // the oldest first
	xml  []byte // of all, one behind the other
}

// A past is a message that was sent in the room. What the room added to it is not kept, but
// added again.
type past struct {
	by    *voice
	id    int64
	size  uint32 // of the XML, which is as in the archive; without what surround gives, unless whole
	dated bool   // by an owner, who brought it along (XEP-0045 §7.9)
	whole bool
}

// A voice is whom messages are from. It is not changed.
type voice struct {
	from string // room@service/nick
	nick string
	id   string // XEP-0421
}

// newVoice makes a voice whose texts are one piece of memory.
func (r *room) newVoice(nick, id string) *voice {
	text := r.self + "/" + nick + id
	n := len(text) - len(id)
	return &voice{from: text[:n], nick: text[n-len(nick) : n], id: text[n:]}
}

// maxHistory bounds a history, in octets: it is also what everybody gets who enters.
const maxHistory = 1 << 20

// pastOverhead is about what of a message is not kept in a history, in octets.
const pastOverhead = 256

// add puts a message behind the others. The oldest go if there are more than n then, or if
// they are too large together; also this one, if it is that alone.
func (h *history) add(p past, xml []byte, n int) {
	p.size = uint32(len(xml))
	size, first := len(h.xml)+len(xml)+pastOverhead*(len(h.list)+1), 0
	for first < len(h.list) && (len(h.list)-first >= n || size > maxHistory) {
		size -= int(h.list[first].size) + pastOverhead
		first++
	}
	h.drop(0, first)
	if size > maxHistory {
		return
	}
	h.list = append(grown(h.list, 1), p)
	h.xml = append(grown(h.xml, len(xml)), xml...)
}

// drop takes out the messages from i to before k.
func (h *history) drop(i, k int) {
	start := 0
	for _, p := range h.list[:i] {
		start += int(p.size)
	}
	end := start
	for _, p := range h.list[i:k] {
		end += int(p.size)
	}
	h.list, h.xml = slices.Delete(h.list, i, k), slices.Delete(h.xml, start, end)
	if cap(h.xml) > 2*len(h.xml)+pastOverhead {
		h.xml = bytes.Clone(h.xml)
	}
}

// newest are the messages with their XML, which stays there until the history is changed;
// the newest come first.
func (h *history) newest() iter.Seq2[*past, []byte] {
	return func(yield func(*past, []byte) bool) {
		end := len(h.xml)
		for i := len(h.list) - 1; i >= 0; i-- {
			p := &h.list[i]
			start := end - int(p.size)
			if !yield(p, h.xml[start:end]) {
				return
			}
			end = start
		}
	}
}

// surround is what the room puts around a message from an occupant (see messageDraft).
func (r *room) surround(p *past) (before, after []byte) {
	before = component.AppendAttr(append(make([]byte, 0, 128), "<message"...), "from", p.by.from)
	return before, append(r.appendIDs(make([]byte, 0, 256), p.id, p.by.id), "</message>"...)
}

// text is the message as all got it.
func (r *room) text(p *past, xml []byte) []byte {
	if p.whole {
		return bytes.Clone(xml)
	}
	before, after := r.surround(p)
	return append(append(before, xml...), after...)
}

// late is the message for who enters later, with the time when it was sent.
func (r *room) late(p *past, xml []byte) *component.Draft {
	d := component.ParseDraft(r.text(p, xml), r.addr)
	if p.dated {
		return d
	}
	delay := component.AppendAttr([]byte("<delay xmlns='"+NSDelay+"'"), "from", r.self)
	delay = component.AppendAttr(delay, "stamp", idTime(p.id).Format(stampFormat))
	return d.With(append(delay, '/', '>'))
}
