package muc

import "github.com/allium-xmpp/allium/component"

// A past is a message that was sent in the room. Most of the memory of a room without an
// archive are these, so what the room added to a message is not kept, but added again.
type past struct {
	xml   string // as in the archive; without what surround gives, unless whole
	by    *voice
	id    int64
	dated bool // by an owner, who brought it along (XEP-0045 §7.9)
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

// newPast makes what is kept of d, a message from by.
func (r *room) newPast(d *component.Draft, by *voice, id int64, dated bool) past {
	p := past{by: by, id: id, dated: dated}
	before, after := r.surround(&p)
	xml := d.XML()
	n := len(xml) - len(after)
	if n > len(before) && string(xml[:len(before)]) == string(before) && string(xml[n:]) == string(after) {
		p.xml = string(xml[len(before):n])
	} else {
		p.xml, p.whole = string(xml), true
	}
	return p
}

// surround is what the room puts around a message from an occupant (see messageDraft).
func (r *room) surround(p *past) (before, after []byte) {
	before = component.AppendAttr(append(make([]byte, 0, 128), "<message"...), "from", p.by.from)
	return before, append(r.appendIDs(make([]byte, 0, 256), p.id, p.by.id), "</message>"...)
}

// text is the message as all got it.
func (r *room) text(p *past) []byte {
	if p.whole {
		return []byte(p.xml)
	}
	before, after := r.surround(p)
	return append(append(before, p.xml...), after...)
}

// size is about the length of the message, in octets.
func (p *past) size() int { return len(p.xml) + 256 }

// late is the message for who enters later, with the time when it was sent.
func (r *room) late(p *past) *component.Draft {
	d := component.ParseDraft(r.text(p), r.addr)
	if p.dated {
		return d
	}
	delay := component.AppendAttr([]byte("<delay xmlns='"+NSDelay+"'"), "from", r.self)
	delay = component.AppendAttr(delay, "stamp", idTime(p.id).Format(stampFormat))
	return d.With(append(delay, '/', '>'))
}
