package component

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stream"
)

func parse(t testing.TB, content, in string) *Element {
	t.Helper()
	e, err := NewContentDecoder(strings.NewReader(in), content, Limits{}).Next()
	require.NoError(t, err, in)
	return e
}

// What is read from one stream is written to another without loss.
func TestGolden(t *testing.T) {
	for _, c := range []struct{ name, in, out string }{
		{"plain", `<message to="a@b" from="c@d"><body>hi</body></message>`, `<message to='a@b' from='c@d'><body>hi</body></message>`},
		{"empty element", `<presence></presence>`, `<presence/>`},
		{"white space is text", "<message> <body>\n a </body></message>", "<message> <body>\n a </body></message>"},
		{"foreign namespace", `<iq><query xmlns="jabber:iq:version"><name/></query></iq>`, `<iq><query xmlns='jabber:iq:version'><name/></query></iq>`},
		{"foreign prefix", `<message><x:a xmlns:x="urn:x" x:b="1" b="2"><x:c/><d/></x:a></message>`, `<message><x:a xmlns:x='urn:x' x:b='1' b='2'><x:c/><d xmlns='jabber:client'/></x:a></message>`},
		{"prefix declared above", `<message xmlns:x="urn:x"><x:a><x:b/></x:a></message>`, `<message xmlns:x='urn:x'><x:a><x:b/></x:a></message>`},
		{"declaration for a name in content", `<message><a xmlns="urn:a" xmlns:q="urn:q" t="q:n"/></message>`, `<message><a xmlns='urn:a' xmlns:q='urn:q' t='q:n'/></message>`},
		{"no namespace", `<message><a xmlns=""><b/></a></message>`, `<message><a xmlns=''><b/></a></message>`},
		{"lang", `<message xml:lang="de"><body xml:lang="en">x</body></message>`, `<message xml:lang='de'><body xml:lang='en'>x</body></message>`},
		{"mixed content", `<message><body>a<b xmlns="urn:b">c</b>d</body></message>`, `<message><body>a<b xmlns='urn:b'>c</b>d</body></message>`},
		{"cdata", `<message><body><![CDATA[<a>&amp;]]>b</body></message>`, `<message><body>&lt;a&gt;&amp;amp;b</body></message>`},
		{"references", `<message a="&#9;&#10;&#13;&quot;&apos;&lt;"><body>&#13;&#x41;&#128512;&gt;</body></message>`, `<message a='&#x9;&#xA;&#xD;"&apos;&lt;'><body>&#xD;A😀&gt;</body></message>`},
		{"content namespace by prefix", `<c:message xmlns:c="jabber:component:accept"><c:body>x</c:body></c:message>`, `<message xmlns:c='jabber:component:accept'><body>x</body></message>`},
		{"forwarded", `<message><forwarded xmlns="urn:xmpp:forward:0"><message xmlns="jabber:client"><body>x</body></message></forwarded></message>`,
			`<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>x</body></message></forwarded></message>`},
		{"attribute in the element's namespace", `<message><p:a xmlns:p="urn:p" p:a="1"/></message>`, `<message><p:a xmlns:p='urn:p' p:a='1'/></message>`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := parse(t, NSAccept, c.in)
			assert.Equal(t, c.out, string(e.AppendXML(nil, NSServer)))
		})
	}
}

// An element that is moved out of the scope of its declarations takes them along.
func TestMovedElement(t *testing.T) {
	e := parse(t, NSServer, `<message xmlns:x="urn:x" xmlns:y="urn:y"><x:a y:b="1"/></message>`)
	moved := NewElement(NSClient, "message").Add(e.Nodes[0].Element)
	assert.Equal(t, `<message><x:a xmlns:x='urn:x' xmlns:y='urn:y' y:b='1'/></message>`, moved.String())
	// Also where the prefix means something else there, or was not given.
	a := NewElement("urn:z", "a")
	a.Attr = []Attr{{Name: xml.Name{Space: "urn:y", Local: "b"}, Value: "1"}, {Name: xml.Name{Space: "urn:w", Local: "b"}, Value: "2"}}
	assert.Equal(t, `<a xmlns='urn:z' xmlns:ns0='urn:y' ns0:b='1' xmlns:ns1='urn:w' ns1:b='2'/>`, a.String())
}

func TestInvalidCharacters(t *testing.T) {
	e := NewElement(NSClient, "body", Text("a\x00b\xffc\uFFFEd\uFFFD"))
	assert.Equal(t, "<body>a\uFFFDb\uFFFDc\uFFFDd\uFFFD</body>", e.String())
}

// Bad input gets the stream error that fits.
func TestDecodeErrors(t *testing.T) {
	deep := strings.Repeat("<a>", 100)
	for _, c := range []struct {
		in   string
		want error
	}{
		{`<message><body></message>`, stream.NotWellFormed},
		{`<message a="1" a="2"/>`, stream.NotWellFormed},
		{`<message xmlns:p="urn:p" xmlns:q="urn:p" p:a="1" q:a="2"/>`, stream.NotWellFormed},
		{`<message a=1/>`, stream.NotWellFormed},
		{`<message>&#0;</message>`, stream.NotWellFormed},
		{"<message>\x01</message>", stream.NotWellFormed},
		{"<message>\xff\xfe</message>", stream.NotWellFormed},
		{`<message>]]></message>`, stream.NotWellFormed},
		{`<a:b:c xmlns:a="urn:a"/>`, stream.NotWellFormed},
		{`<message xmlns:xml="urn:x"/>`, stream.NotWellFormed},
		{`<message xmlns:p=""/>`, stream.NotWellFormed},
		{`<message xmlns="http://www.w3.org/2000/xmlns/"/>`, stream.NotWellFormed},
		{`</message>`, stream.NotWellFormed},
		{`<p:message/>`, stream.BadNamespacePrefix},
		{`<message p:a="1"/>`, stream.BadNamespacePrefix},
		{`<!DOCTYPE a [<!ENTITY b "c">]><message/>`, stream.RestrictedXML},
		{`<message>&b;</message>`, stream.RestrictedXML},
		{`<message><!-- x --></message>`, stream.RestrictedXML},
		{`<!-- x -->`, stream.RestrictedXML},
		{`<?php x ?>`, stream.RestrictedXML},
		{`<message><?php x ?></message>`, stream.RestrictedXML},
		{`text<message/>`, stream.BadFormat},
		{deep, io.ErrUnexpectedEOF},
		{`<message>` + strings.Repeat("x", 600<<10) + `</message>`, stream.PolicyViolation},
		{`<message a="` + strings.Repeat("x", 600<<10), stream.PolicyViolation},
		{`<!DOCTYPE ` + strings.Repeat("x", 600<<10), stream.RestrictedXML}, // not read any further
		{`<` + strings.Repeat("x", 600<<10), stream.PolicyViolation},
	} {
		_, err := NewContentDecoder(strings.NewReader(c.in), NSServer, Limits{}).Next()
		assert.ErrorIs(t, err, c.want, "%.60q: %v", c.in, err)
	}
}

// An element that is over a limit costs no more than the limit, and not the stream.
func TestOversize(t *testing.T) {
	attrs, declared := &strings.Builder{}, &strings.Builder{}
	for i := range 400 {
		fmt.Fprintf(attrs, " a%d=''", i)
	}
	for i := range 50 {
		declared.WriteString("<a")
		for j := range 10 {
			fmt.Fprintf(declared, " xmlns:a%dx%d='urn:x'", i, j)
		}
		declared.WriteString(">")
	}
	for _, in := range []string{
		"<message to='a@b' from='c@d'>" + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + "</message>",
		"<message to='a@b' from='c@d'>" + strings.Repeat("<a/>", 20_000) + "</message>",
		"<message" + attrs.String() + " to='a@b' from='c@d'/>",
		"<message to='a@b' from='c@d'><a" + attrs.String() + "/></message>",
		"<message to='a@b' from='c@d'>" + declared.String() + strings.Repeat("</a>", 50) + "</message>",
	} {
		d := NewContentDecoder(strings.NewReader(in+"<presence/>"), NSServer, Limits{})
		e, err := d.Next()
		var over *OversizeError
		require.ErrorAs(t, err, &over, "%.80s", in)
		assert.ErrorIs(t, err, stream.PolicyViolation)
		assert.Equal(t, "<message to='a@b' from='c@d'/>", e.String())
		e, err = d.Next()
		require.NoError(t, err)
		assert.True(t, e.Is(NSClient, "presence"))
	}
}

// Nor does it take long to write what many declarations were made for.
func TestManyDeclarations(t *testing.T) {
	in := "<message xmlns:q='urn:q'>" + strings.Repeat("<a xmlns:a='u' xmlns:b='u' xmlns:c='u' xmlns:d='u'>", 60) +
		strings.Repeat("<l q:a=''/>", 9000) + strings.Repeat("</a>", 60) + "</message>"
	e := parse(t, NSServer, in)
	e.Attr = nil
	out := e.AppendXML(nil, NSServer)
	assert.Contains(t, string(out), "<l xmlns:q='urn:q' q:a=''/>")
}

func TestStream(t *testing.T) {
	const in = `<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='a' to='b' id='1'> ` +
		"\n\n<db:result>k</db:result><presence/>  </stream:stream>"
	d := NewDecoder(strings.NewReader(in), Limits{})
	h, err := d.Header()
	require.NoError(t, err)
	assert.Equal(t, "a", h.AttrValue("from"))
	e, err := d.Next()
	require.NoError(t, err)
	assert.True(t, e.Is("jabber:server:dialback", "result"))
	assert.Equal(t, "k", e.Text())
	e, err = d.Next()
	require.NoError(t, err)
	assert.True(t, e.Is(NSClient, "presence"))
	_, err = d.Next()
	assert.Equal(t, io.EOF, err)
}

// A stream that follows another on the same input is read from its first octet, and
// with nothing of the first one left, however the octets come.
func TestRestart(t *testing.T) {
	const first = `<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x' id='1'>` +
		`<stream:features/><x:a><b>c</b></x:a><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'`
	const second = `<?xml version='1.0'?><s:stream xmlns:s='http://etherx.jabber.org/streams' id='2'><message xmlns='jabber:client' xmlns:p='jabber:server'><p:a/></message><x:b/>`
	for _, end := range []string{"/>", "></auth>", ">AAAA</auth>\n", "></auth\t> \r\n "} {
		in := first + end + second
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "by octets": iotest.OneByteReader(strings.NewReader(in))} {
			t.Run(name, func(t *testing.T) {
				d := NewDecoder(r, Limits{})
				header := func(id string) {
					h, err := d.Header()
					require.NoError(t, err)
					assert.Equal(t, id, h.AttrValue("id"))
				}
				next := func(space, local string) *Element {
					e, err := d.Next()
					require.NoError(t, err)
					assert.Equal(t, xml.Name{Space: space, Local: local}, e.Name)
					return e
				}
				header("1")
				next(NSStream, "features")
				next("urn:x", "a")
				next("urn:ietf:params:xml:ns:xmpp-sasl", "auth")
				d.Restart()
				header("2")
				// What was the content namespace is none any more.
				assert.NotNil(t, next(NSClient, "message").Child(NSServer, "a"))
				_, err := d.Next()
				assert.ErrorIs(t, err, stream.BadNamespacePrefix)
			})
		}
	}
}

func TestHeaderErrors(t *testing.T) {
	for _, c := range []struct {
		in   string
		want error
	}{
		{``, io.ErrUnexpectedEOF},
		{`<stream:stream xmlns='jabber:server' xmlns:stream='urn:x'>`, stream.InvalidNamespace},
		{`<message xmlns='jabber:server'/>`, stream.BadFormat},
		{`GET / HTTP/1.1`, stream.NotWellFormed},
		{`<?xml version='1.0' encoding='latin1'?><a/>`, stream.UnsupportedEncoding},
		{`<!DOCTYPE x><a/>`, stream.RestrictedXML},
	} {
		_, err := NewDecoder(strings.NewReader(c.in), Limits{}).Header()
		assert.ErrorIs(t, err, c.want, c.in)
	}
}

// The end of the input between stanzas is the end of the stream, within one it is not.
func TestEOF(t *testing.T) {
	d := NewContentDecoder(strings.NewReader(`<a/> `), NSServer, Limits{})
	_, err := d.Next()
	require.NoError(t, err)
	_, err = d.Next()
	assert.Equal(t, io.EOF, err)
	_, err = NewContentDecoder(strings.NewReader(`<a><b`), NSServer, Limits{}).Next()
	assert.Equal(t, io.ErrUnexpectedEOF, err)
}

// canonical is an independent view of XML: what encoding/xml's own namespace
// handling makes of it.
func canonical(t testing.TB, in []byte, content string) []xml.Token {
	d := xml.NewDecoder(bytes.NewReader(slices.Concat([]byte("<s xmlns='"+content+"' xmlns:stream='"+NSStream+"'>"), in, []byte("</s>"))))
	var out []xml.Token
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return out[1 : len(out)-1]
		}
		require.NoError(t, err, "%s", in)
		switch tk := tok.(type) {
		case xml.StartElement:
			tk = tk.Copy()
			if tk.Name.Space == NSServer {
				tk.Name.Space = NSClient // the content namespace reads as that
			}
			tk.Attr = slices.DeleteFunc(tk.Attr, func(a xml.Attr) bool { return a.Name.Space == "xmlns" || a.Name.Local == "xmlns" })
			slices.SortFunc(tk.Attr, func(a, b xml.Attr) int {
				return strings.Compare(a.Name.Space+" "+a.Name.Local, b.Name.Space+" "+b.Name.Local)
			})
			out = append(out, tk)
		case xml.CharData:
			if n := len(out); n > 0 {
				if last, ok := out[n-1].(xml.CharData); ok {
					out[n-1] = append(last, tk...)
					continue
				}
			}
			if len(tk) > 0 {
				out = append(out, tk.Copy())
			}
		default:
			end := tok.(xml.EndElement)
			if end.Name.Space == NSServer {
				end.Name.Space = NSClient
			}
			out = append(out, end)
		}
	}
}

// FuzzElement: whatever can be read is written as the same infoset, as an
// independent parser sees it, and reads back as the same Element.
func FuzzElement(f *testing.F) {
	f.Add(`<message to="a@b"><body>hi</body></message>`)
	f.Add(`<message><x:a xmlns:x="urn:x" x:b="1" b="2"><x:c/><d xmlns=""/>&#13;<![CDATA[<]]></x:a></message>`)
	f.Add(`<a:b xmlns:a="jabber:server" xmlns="urn:x"><c a:d=""/><a:e xml:lang="x"/></a:b>`)
	f.Add(`<a xmlns:b="urn:b" b:c="1"><b:d xmlns:b="urn:e" b:f=""/></a>`)
	f.Add(`<iq id="1" type="get" to="a@b/c" from="d" xml:lang="de" xmlns:e="urn:e" e:f="g"><e:h/></iq>`)
	f.Add(`<stream:error><x xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>`)
	f.Fuzz(func(t *testing.T, in string) {
		r := strings.NewReader(in)
		d := NewContentDecoder(r, NSServer, Limits{Bytes: 64 << 10})
		e, err := d.Next()
		if err != nil {
			var se *StreamError
			if !errors.As(err, &se) && err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Fatalf("%v", err)
			}
			return
		}
		out := e.AppendXML(nil, NSServer)
		again := parse(t, NSServer, string(out))
		require.Equal(t, string(out), string(again.AppendXML(nil, NSServer)))
		if s, err := ParseStanza(again); err == nil {
			xml := s.AppendXML(nil, NSServer)
			s2, err := ParseStanza(parse(t, NSServer, string(xml)))
			require.NoError(t, err)
			require.Equal(t, string(xml), string(s2.AppendXML(nil, NSServer)))
			// An attribute with a prefix for jabber:server is the only thing that can
			// look different: its declaration is made anew.
			require.Equal(t, len(canonical(t, out, NSServer)), len(canonical(t, xml, NSServer)))
		}
		first := in[:len(in)-r.Len()-d.Buffered()]
		restart(t, first)
		require.Equal(t, canonical(t, []byte(blanks(strings.TrimLeft(first, " \t\r\n"))), NSServer), canonical(t, out, NSServer))
	})
}

// restart: no octet of a stream that follows an element is lost.
func restart(t *testing.T, element string) {
	d := NewContentDecoder(strings.NewReader(element+"<s:stream xmlns='jabber:server' xmlns:s='"+NSStream+"'><presence/>"), NSServer, Limits{Bytes: 64 << 10})
	_, err := d.Next()
	require.NoError(t, err)
	d.Restart()
	_, err = d.Header()
	require.NoError(t, err)
	e, err := d.Next()
	require.NoError(t, err)
	require.True(t, e.Is(NSClient, "presence"))
}

func BenchmarkDecode(b *testing.B) {
	benchmarkDecode(b, func(*Element) error { return nil })
}

func BenchmarkDecodeStanza(b *testing.B) {
	benchmarkDecode(b, func(e *Element) error {
		_, err := ParseStanza(e)
		return err
	})
}

func benchmarkDecode(b *testing.B, then func(*Element) error) {
	in := strings.Repeat(message500, 1000)
	b.SetBytes(int64(len(message500)))
	b.ReportAllocs()
	for n := 0; n < b.N; {
		d := NewContentDecoder(strings.NewReader(in), NSAccept, Limits{})
		for ; n < b.N; n++ {
			e, err := d.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = then(e)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	s, err := ParseStanza(parse(b, NSAccept, message500))
	require.NoError(b, err)
	b.SetBytes(int64(len(message500)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = s.AppendXML(buf[:0], NSServer)
	}
}

// message500 is a chat message of 500 octets, as today's clients send them.
var message500 = func() string {
	const head = `<message to="bob\40aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaam2dqd.onion@onion.example.org" from="alice@example.org/phone" type="chat" id="7c1f1d7a" xml:lang="en"><body>`
	const tail = `</body><active xmlns="http://jabber.org/protocol/chatstates"/><request xmlns="urn:xmpp:receipts"/><origin-id xmlns="urn:xmpp:sid:0" id="7c1f1d7a"/></message>`
	return head + strings.Repeat("x", 500-len(head)-len(tail)) + tail
}()
