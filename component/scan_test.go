package component

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/stream"
)

// The reasons of errors where the reference has none, or another, and is wrong.
var stricter = map[string]string{
	notApart:       "encoding/xml wants no white space between attributes (XML 1.0 §3.1),",
	badName:        "lets the part of a name behind the colon begin with a digit (Namespaces in XML §4),",
	badReference:   "takes what is no reference for one to an entity, and a surrogate for U+FFFD (XML 1.0 §4.1),",
	badDeclaration: "and takes anything for an XML declaration (XML 1.0 §2.8)",
	strayText:      "a CDATA section is text, and no instruction,",
	textBefore:     "and is refused where it begins",
	anInstruction:  "what XMPP forbids (RFC 6120 §11.1) need not be read up to its end",
	aComment:       "neither",
	aDeclaration:   "nor",
}

// What the reference is wrong about.
func TestStricter(t *testing.T) {
	for _, c := range []struct {
		in   string
		want stream.Error
	}{
		{`<a b='1'c='2'/>`, stream.NotWellFormed},
		{`<a:1 xmlns:a='u'/>`, stream.NotWellFormed},
		{`<a xmlns:a='u' a:-b=''/>`, stream.NotWellFormed},
		{`<a xmlns:1='u'/>`, stream.NotWellFormed},
		{`<a>&;</a>`, stream.NotWellFormed},
		{`<a>& </a>`, stream.NotWellFormed},
		{`<a>&amp</a>`, stream.NotWellFormed},
		{`<a>&#;</a>`, stream.NotWellFormed},
		{`<a>&#x;</a>`, stream.NotWellFormed},
		{`<a>&#X41;</a>`, stream.NotWellFormed},
		{`<a>&#xD800;</a>`, stream.NotWellFormed},
		{`<a>&#x110000;</a>`, stream.NotWellFormed},
		{`<a>&#99999999999999999999999999999999999;</a>`, stream.NotWellFormed},
		{`<![CDATA[a]]>`, stream.BadFormat},
		{`<!--`, stream.RestrictedXML},
		{`<?a`, stream.RestrictedXML},
		{`<!DOCTYPE`, stream.RestrictedXML},
	} {
		_, got := NewContentDecoder(strings.NewReader(c.in), NSServer, Limits{}).Next()
		assert.ErrorIs(t, got, c.want, c.in)
		_, before := newContentReference(strings.NewReader(c.in), NSServer, Limits{}).Next()
		assert.NotErrorIs(t, before, c.want, c.in)
	}
	const header = `<s:stream xmlns:s='http://etherx.jabber.org/streams'>`
	for _, in := range []string{
		`<?xml?>`, `<?xml encoding='utf-8'?>`, `<?xml version="1.0' ?>`, `<?xml version='1.0' standalone='maybe'?>`,
		`<?xml version='1.0'encoding='utf-8'?>`, `<?xml version='1.0' encoding='utf-8' more?>`,
	} {
		_, err := NewDecoder(strings.NewReader(in+header), Limits{}).Header()
		assert.ErrorIs(t, err, stream.NotWellFormed, in)
		_, err = newReference(strings.NewReader(in+header), Limits{}).Header()
		assert.NoError(t, err, in)
	}
	e := parse(t, NSServer, "<a b=' \t\n\r\n\r&#9;&#10;&#13;'/>")
	assert.Equal(t, "     \t\n\r", e.AttrValue("b"))
}

// A step is what one call has read.
type step struct {
	e   *Element
	err error
}

// kind is what an error means to the other side.
func (s step) kind() string {
	var se *StreamError
	switch over := new(OversizeError); {
	case errors.As(s.err, &over):
		return "over: " + over.Reason
	case errors.As(s.err, &se):
		return se.Condition.Err
	}
	return fmt.Sprint(s.err)
}

// steps reads up to the error that is the end.
func steps(header, next func() (*Element, error)) (all []step) {
	for {
		var s step
		if header != nil {
			s.e, s.err = header()
			header = nil
		} else {
			s.e, s.err = next()
		}
		all = append(all, s)
		if over := new(OversizeError); s.err != nil && !errors.As(s.err, &over) {
			return all
		}
	}
}

// requireSame reads in, in pieces of several kinds, and compares with the reference.
func requireSame(t *testing.T, in string, whole bool, lim Limits, seed uint64) {
	t.Helper()
	var want []step
	if r := strings.NewReader(blanks(in)); whole {
		d := newReference(r, lim)
		want = steps(d.Header, d.Next)
	} else {
		want = steps(nil, newContentReference(r, NSServer, lim).Next)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	var first []step
	for name, pieces := range map[string]func(io.Reader) io.Reader{
		"whole":   func(r io.Reader) io.Reader { return r },
		"octets":  iotest.OneByteReader,
		"last":    iotest.DataErrReader,
		"somehow": func(r io.Reader) io.Reader { return &randomReader{r, random} },
	} {
		r := strings.NewReader(in)
		d := NewContentDecoder(pieces(r), NSServer, lim)
		var header func() (*Element, error)
		if whole {
			d = NewDecoder(pieces(r), lim)
			header = d.Header
		}
		got := steps(header, func() (*Element, error) {
			if used := in[:len(in)-r.Len()]; name == "octets" {
				require.Zero(t, d.Buffered(), "what is not needed yet was read")
				require.True(t, used == "" || used[len(used)-1] == '>', "%.300q", used)
			}
			return d.Next()
		})
		if first == nil {
			first = got
		}
		require.Equal(t, first, got, "%s: %.300q", name, in)
	}
	for i, g := range first {
		var se *StreamError
		if errors.As(g.err, &se) && stricter[se.Reason] != "" {
			return
		}
		require.Less(t, i, len(want), "%.300q", in)
		require.Equal(t, want[i].kind(), g.kind(), "%.300q: %v, %v", in, want[i].err, g.err)
		if g.err == nil {
			require.Equal(t, want[i].e, g.e, "%.300q", in)
		} else if g.e != nil {
			require.Equal(t, want[i].e.String(), g.e.String(), "%.300q", in)
		}
	}
	require.Len(t, first, len(want), "%.300q", in)
}

// blanks writes a blank for each white space in values, since encoding/xml does not read it
// as one (XML 1.0 §3.3.3).
func blanks(in string) string {
	var out []byte
	tag, quote := false, byte(0)
	for i := 0; i < len(in); i++ {
		c := in[i]
		switch {
		case quote != 0 && strings.HasPrefix(in[i:], "\r\n"):
			continue // the line feed becomes the blank
		case quote != 0 && isSpace(c):
			c = ' '
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case tag && (c == '"' || c == '\''):
			quote = c
		case tag && c == '>':
			tag = false
		case !tag && strings.HasPrefix(in[i:], "<![CDATA["):
			section, _, _ := strings.Cut(in[i:], "]]>")
			out = append(out, section...)
			i += len(section) - 1
			continue
		case !tag && c == '<':
			tag = true
		}
		out = append(out, c)
	}
	return string(out)
}

// A randomReader reads between one and some octets.
type randomReader struct {
	r io.Reader
	n *rand.Rand
}

func (r *randomReader) Read(p []byte) (int, error) {
	return r.r.Read(p[:min(len(p), 1+r.n.IntN(20))])
}

// fewLimits are so low that short input is over them.
var fewLimits = Limits{Depth: 4, Elements: 8, Attrs: 4}

var nasty = []string{
	`<a/>`, `<a />`, `<a></a>`, `<a ></a >`, "<a\n\t\r b='c'\r\n>\r\n</a\n>", `<a b = "'" c	=	'"'/>`, ` <a/> <b/> `, `<a/>x`, `<a/></stream:stream>`,
	`<a/></stream:stream >`, `<a/></stream>`, `</a>`, `<a></b>`, `<a><b></a></b>`, `<>`, `< a/>`, `</ a>`, `<a/ >`, `<a/b>`, `<a//>`, `<a b/>`, `<a b=/>`, `<a b=c/>`,
	`<a b='c"/>`, `<a b='c' b='d'/>`, `<a b='<'/>`, `<a b='>'/>`, `<a b=']]>'/>`, `<a ='b'/>`, `<a b=='c'/>`, `<a 'b'/>`, `<a b='1'c='2'/>`,
	`<a xmlns='u' b:c=''/>`, `<b:a/>`, `<a xmlns:b='u'><b:c b:d=''/></a>`, `<b:a xmlns:b='u'></b:a>`, `<b:a xmlns:b='u' xmlns:c='u'></c:a>`, `<a xmlns:b='u' xmlns:c='u' b:d='' c:d=''/>`,
	`<a xmlns=''><b/></a>`, `<a xmlns:b=''/>`, `<a xmlns:xml='u'/>`, `<a xmlns:xml='` + NSXML + `'/>`, `<a xmlns:b='` + NSXML + `'/>`, `<a xmlns:xmlns='u'/>`, `<a xmlns='` + NSXMLNS + `'/>`,
	`<xmlns:a/>`, `<xml:a/>`, `<a xml:lang='de'/>`, `<a xmlns='u' xmlns='u'/>`, `<a xmlns:b='u' xmlns:b='u'/>`, `<stream:error/>`, `<c:a xmlns:c='jabber:server' c:b='' b=''><b c:d=''/></c:a>`,
	`<:a/>`, `<a:/>`, `<a:b:c/>`, `<a :b=''/>`, `<a xmlns:=''/>`, `<a:1 xmlns:a='u'/>`, `<1/>`, `<-a/>`, `<.a/>`, `<_a.-1/>`, `<é/>`, `<a é='ü'>é</a>`, `<aé:bé xmlns:aé='u'/>`, "<\u0f00/>", "<\u00d7/>", "<a\u0300/>", "<\u0300a/>", "<\U00010000/>", "<a\xff/>", "<a\xc3", "<\xc3\xa9\xc3/>",
	"<a>\xff</a>", "<a>\xc3</a>", "<a>\xc3&amp;\xa9</a>", "<a>\xc3<![CDATA[\xa9]]></a>", "<a>\xed\xa0\x80</a>", "<a>\xc0\x80</a>", "<a b='\xff'/>", "<a b='é\U0001F600'>\U0001F600</a>", "<a>\uFFFE</a>", "<a>\uFFFD</a>", "<a>\x00</a>", "<a>\x0b\x0c</a>", "<a b='\x01'/>", "<a>\x7f\u0080</a>", "\xef\xbb\xbf<a/>", "<a\x01/>", "<a \x01='b'/>", "<a b=\x01/>",
	"<a>\r</a>", "<a>\r\n</a>", "<a>\n\r</a>", "<a>\r\r\n\n</a>", "<a>\r&#10;</a>", "<a>&#13;\n</a>", "<a>\r<![CDATA[\n]]>\r</a>", "<a><![CDATA[\r\n\r]]>\n</a>", "<a>]\r]></a>", "<a b='\r\n'/>", "<a b='\t\n\r \r\n\n\r'/>", "<a b='&#13;&#10;&#9;'/>",
	`<a>]]></a>`, `<a>]]]></a>`, `<a>]] ></a>`, `<a>]&#93;></a>`, `<a>]]&gt;</a>`, `<a>]<b/>]></a>`, `<a>]]<![CDATA[]]>></a>`, `<a>></a>`, `<a>]></a>`,
	`<a><![CDATA[]]></a>`, `<a>b<![CDATA[c]]>d</a>`, `<a><![CDATA[]]]]><![CDATA[>]]></a>`, `<a><![CDATA[]]]></a>`, `<a><![CDATA[>]>]]]></a>`, `<a><![CDATA[<b>&c;]]></a>`, `<a><![CDATA[]>`, `<a><![CDATA]]></a>`, `<a><![cdata[]]></a>`, `<![CDATA[x]]>`, "<a><![CDATA[\x00]]></a>", `<a><![CDATA[a]]><![CDATA[b]]><b/><![CDATA[c]]></a>`,
	`<a>&amp;&lt;&gt;&quot;&apos;</a>`, `<a b='&amp;&lt;&gt;&quot;&apos;'/>`, `<a>&AMP;</a>`, `<a>&b;</a>`, `<a b='&b;'/>`, `<a>&</a>`, `<a>&;</a>`, `<a>&amp</a>`, `<a>& amp;</a>`, `<a>&amp ;</a>`, `<a>&a:b;</a>`, `<a>&a:b:c;</a>`, `<a>&é;</a>`, `<a>&1;</a>`,
	`<a>&#65;&#x41;&#x00000000000000041;</a>`, `<a>&#0;</a>`, `<a>&#x0;</a>`, `<a>&#9;&#xa;&#xD;</a>`, `<a>&#8;</a>`, `<a>&#xD7FF;&#xE000;&#xFFFD;&#x10000;&#x10FFFF;</a>`, `<a>&#xD800;</a>`, `<a>&#xDFFF;</a>`, `<a>&#xFFFE;</a>`, `<a>&#x110000;</a>`, `<a>&#4294967361;</a>`, `<a>&#18446744073709551681;</a>`, `<a>&#;</a>`, `<a>&#x;</a>`, `<a>&#X41;</a>`, `<a>&#a;</a>`, `<a>&#xg;</a>`, `<a>&#65</a>`, `<a>&#-1;</a>`, `<a>&#+1;</a>`, `<a>&#6_5;</a>`, `<a>&#x1F600;</a>`,
	`<!-- a -->`, `<a><!-- b --></a>`, `<a><!- b --></a>`, `<a><!-- -- --></a>`, `<!DOCTYPE a>`, `<a><!DOCTYPE b></a>`, `<!ENTITY a "b">`, `<!>`, `<!`, `<![`, `<?a b?>`, `<a><?b?></a>`, `<?xml version='1.0'?>`, `<a><?xml version='1.0'?></a>`, `<? a?>`, `<??>`,
	`<a><b><c><d/></c></b></a>`, `<a><b><c><d><e>x<!-- --></e></d></c></b></a><f/>`, `<a to='b'><b><c><d><e/></d></c></b>x</a><f/>`, `<a><b/><b/><b/><b/><b/><b/><b/></a><c/>`, `<a id='1'><b/><b/><b/><b/><b/><b/><b/><b f='g' to='h'/></a><c/>`, `<a><b/><b/><b/><b/><b/><b/><b/><b f:g=''/></a><c/>`,
	`<a b='' c='' d='' e=''/>`, `<a b='' c='' d='' e='' to='f' f='' from='g'/><b/>`, `<p:a b='' c='' d='' e='' xmlns:p='u' to='f'/><b/>`, `<a xmlns='u' b='' c='' d='' e='' to='1' to='2'/>`, `<a b='' c='' d='' e='' to='' from='' id='' type='' xmlns='' to='' to=''/>`, `<a><b b='' c='' d='' e='' f=''><c><![CDATA[<]]>&#65;</c></b></a><c/>`,
	`<a b='' c='' d='' e='' f='><'/>`, `<a b='' c='' d='' e='' f:f=''></b><c/>`, `<a><b b='' c='' d='' e='' f=''>&b;</b></a>`, `<a><b b='' c='' d='' e='' f=''><?c?></b></a>`, "<a><b b='' c='' d='' e='' f=''>\x00</b></a>",
}

var nastyHeaders = []string{
	`<s:stream xmlns:s='` + NSStream + `'><a/></s:stream>`, `<s:stream xmlns:s='` + NSStream + `' xmlns='jabber:server'><a/></s:stream>`, `<?xml version='1.0'?> <stream xmlns='` + NSStream + `'>`, `<?xml version="1.0" encoding="UTF-8" standalone='no' ?><a>`,
	`<?xml version='1.0' encoding='utf-16'?><a>`, `<?xml version='1.1'?><a>`, `<?xml version='1.0'?><?xml version='1.0'?>`, ` <?xml version='1.0'?><a>`, `<?xml?>`, `<?xml-a?>`, `<?xml version='1.0' encoding='é'?>`, `x`, ``, ` `, `</a>`, `<![CDATA[a]]>`, `<!--`, `<!DOCTYPE a>`, `<a:stream>`, `<stream>`,
	`<s:stream xmlns:s='` + NSStream + `' a='' b='' c='' d=''>`, "<s:stream xmlns:s='" + NSStream + "' b='\r\n'>\xff",
}

// What is read does not depend on how it comes, and it is what the reference reads, also
// where the input ends early.
func TestSameAsReference(t *testing.T) {
	for _, in := range nasty {
		for n := range len(in) + 1 {
			requireSame(t, in[:n], false, fewLimits, uint64(n))
		}
		for n := 1; n <= len(in); n++ {
			if blanks(in) == in {
				requireSame(t, in, false, Limits{Bytes: n}, uint64(n))
			}
		}
	}
	for _, in := range nastyHeaders {
		for n := range len(in) + 1 {
			requireSame(t, in[:n], true, fewLimits, uint64(n))
		}
	}
	long := message500 + "\n" + strings.Repeat("<a b='é'>&lt;\r\n"+strings.Repeat("é", 300)+"</a><b xmlns='c'/>", 30)
	for seed := range uint64(30) {
		requireSame(t, long[seed:], false, Limits{}, seed)
		requireSame(t, long, false, Limits{}, seed)
	}
}

func FuzzDecode(f *testing.F) {
	for i, in := range nasty {
		f.Add(in, false, uint16(i), uint64(i))
	}
	for i, in := range nastyHeaders {
		f.Add(in, true, uint16(0), uint64(i))
	}
	f.Fuzz(func(t *testing.T, in string, header bool, limit uint16, seed uint64) {
		lim := fewLimits
		if blanks(in) == in {
			lim.Bytes = int(limit)
		}
		requireSame(t, in, header, lim, seed)
	})
}

// A stream that is opened and closed by one tag has ended.
func TestEmptyStream(t *testing.T) {
	d := NewDecoder(strings.NewReader(`<s:stream xmlns:s='`+NSStream+`'/>`), Limits{})
	_, err := d.Header()
	require.NoError(t, err)
	assert.True(t, d.Closed())
	_, err = d.Next()
	assert.Equal(t, io.EOF, err)
}
