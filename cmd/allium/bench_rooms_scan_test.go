package main

import "bytes"

// A rawStanza is a stanza as octets, and what of its start tag matters here. It holds for
// streams of servers and services that behave: no comments, no sections of CDATA, and no
// '>' in attributes. So a million of them take a fraction of a second to read.
type rawStanza struct {
	name               string // "" for what is no stanza
	from, to, id, kind []byte // as written, unescaped; kind is the attribute type
	toAt               int    // where to begins
	text               []byte // all of it
	inner              []byte // what is between its tags
}

// cutStanza cuts the first stanza off data; ok is false if it is not all there.
func cutStanza(data []byte) (s rawStanza, rest []byte, ok bool) {
	start := bytes.IndexByte(data, '<')
	if start < 0 {
		return s, nil, false
	}
	data = data[start:]
	tag := bytes.IndexByte(data, '>')
	if tag < 0 {
		return s, data, false
	}
	name, closing := tagName(data[1:tag])
	end := tag + 1
	if len(closing) > 0 && data[tag-1] != '/' {
		inner := bytes.Index(data[end:], closing)
		if inner < 0 {
			return s, data, false
		}
		s.inner = data[end : end+inner]
		end += inner + len(closing)
	}
	s.name, s.text = name, data[:end]
	s.attributes(data[:tag], 1+len(name))
	return s, data[end:], true
}

var stanzaNames = []string{"message", "presence", "iq"}

// closings are the end tags to the names.
var closings = [][]byte{[]byte("</message>"), []byte("</presence>"), []byte("</iq>")}

// tagName is the name in a start tag, and the end tag to it.
func tagName(tag []byte) (name string, closing []byte) {
	for i, name := range stanzaNames {
		if len(tag) > len(name) && tag[len(name)] == ' ' && string(tag[:len(name)]) == name {
			return name, closings[i]
		}
	}
	return "", nil
}

// attributes reads the attributes of a start tag, which begin somewhere in it.
func (s *rawStanza) attributes(tag []byte, begin int) {
	end := len(tag)
	tag = tag[begin:]
	for len(tag) > 0 && tag[0] == ' ' {
		equals := bytes.IndexByte(tag, '=')
		if equals < 0 || equals+2 > len(tag) {
			return
		}
		name, value := tag[1:equals], tag[equals+2:]
		quote := bytes.IndexByte(value, tag[equals+1])
		if quote < 0 {
			return
		}
		switch string(name) {
		case "from":
			s.from = value[:quote]
		case "to":
			s.to, s.toAt = value[:quote], end-len(value)
		case "id":
			s.id = value[:quote]
		case "type":
			s.kind = value[:quote]
		}
		tag = value[quote+1:]
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
