package main

import "bytes"

// A rawStanza is a stanza as octets, and what of its start tag matters here. It holds for
// streams of servers and services that behave: no comments, no sections of CDATA, and no
// '>' in attributes. So a million of them take a fraction of a second to read.
type rawStanza struct {
	name               string // "" for what is no stanza
	from, to, id, kind []byte // as written, unescaped; kind is the attribute type
	text               []byte // all of it
	inner              []byte // what is between its tags
}

// cutStanza cuts the first stanza off data; it is nil if it is not all there.
func cutStanza(data []byte) (stanza, rest []byte) {
	start := bytes.IndexByte(data, '<')
	if start < 0 {
		return nil, nil
	}
	data = data[start:]
	tag := bytes.IndexByte(data, '>')
	switch {
	case tag < 0:
		return nil, data
	case data[tag-1] == '/' || data[1] == '/':
		return data[:tag+1], data[tag+1:]
	}
	last := closing(data[:tag])
	end := bytes.Index(data[tag:], last)
	if end < 0 {
		return nil, data
	}
	end += tag + len(last)
	return data[:end], data[end:]
}

var closeMessage, closePresence, closeIQ = []byte("</message>"), []byte("</presence>"), []byte("</iq>")

// closing is the end tag to a start tag.
func closing(tag []byte) []byte {
	switch name := tagName(tag); string(name) {
	case "message":
		return closeMessage
	case "presence":
		return closePresence
	case "iq":
		return closeIQ
	default:
		return append(append([]byte("</"), name...), '>')
	}
}

func tagName(tag []byte) []byte {
	if end := bytes.IndexAny(tag, " />"); end > 0 {
		return tag[1:end]
	}
	return tag[1:]
}

// scanStanza reads the start tag of a whole stanza.
func scanStanza(text []byte) (s rawStanza) {
	s.text = text
	end := bytes.IndexByte(text, '>')
	switch string(tagName(text[:end])) {
	case "message":
		s.name = "message"
	case "presence":
		s.name = "presence"
	case "iq":
		s.name = "iq"
	default:
		return s
	}
	if last := bytes.LastIndexByte(text, '<'); last > end {
		s.inner = text[end+1 : last]
	}
	attrs := text[1+len(s.name) : end]
	for {
		equals := bytes.IndexByte(attrs, '=')
		if equals < 0 || equals+2 > len(attrs) {
			return s
		}
		name, value := bytes.TrimLeft(attrs[:equals], " "), attrs[equals+2:]
		quote := bytes.IndexByte(value, attrs[equals+1])
		if quote < 0 {
			return s
		}
		switch string(name) {
		case "from":
			s.from = value[:quote]
		case "to":
			s.to = value[:quote]
		case "id":
			s.id = value[:quote]
		case "type":
			s.kind = value[:quote]
		}
		attrs = value[quote+1:]
	}
}

// cutNumber takes a text that must be there, and the number behind it, off s.
func cutNumber(s []byte, before string) (n int, rest []byte, ok bool) {
	if len(s) <= len(before) || string(s[:len(before)]) != before {
		return 0, s, false
	}
	s = s[len(before):]
	i := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n, s[i:], i > 0
}
