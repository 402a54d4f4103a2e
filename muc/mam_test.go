package muc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

const stranger = "hecate@elsewhere.lit/moon"

// A found is what a query of the archive brought.
type found struct {
	ids      []string
	messages []*component.Element // forwarded
	results  []*component.Element
	fin      *component.Element
	err      string
}

func (f found) bodies() []string {
	var b []string
	for _, m := range f.messages {
		b = append(b, m.Child(component.NSClient, "body").Text())
	}
	return b
}

func (f found) rsm(name string) string { return f.fin.Child(NSRSM, "set").Child(NSRSM, name).Text() }

// query queries the archive of a room with a form's fields, and more XML in the query.
func (w *world) query(who, room, more string, fields ...string) found {
	w.t.Helper()
	form := ""
	if len(fields) > 0 {
		form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + NSMAM + "</value></field>"
		for i := 0; i < len(fields); i += 2 {
			form += "<field var='" + fields[i] + "'><value>" + strings.ReplaceAll(fields[i+1], "\n", "</value><value>") + "</value></field>"
		}
		form += "</x>"
	}
	var f found
	got := to(w.set(who, room, "<query xmlns='"+NSMAM+"' queryid='q1'>"+form+more+"</query>"), who)
	require.NotEmpty(w.t, got)
	for i, s := range got {
		if s.Kind == component.IQ {
			require.Equal(w.t, len(got)-1, i, "the result of the request comes last")
			f.err, f.fin = condition(s), s.Child(NSMAM, "fin")
			continue
		}
		require.Equal(w.t, room+"@"+domain, s.From.String())
		r := s.Child(NSMAM, "result")
		require.Equal(w.t, "q1", r.AttrValue("queryid"))
		m := r.Child(NSForward, "forwarded").Child(component.NSClient, "message")
		require.NotNil(w.t, m, "%v", s)
		f.ids = append(f.ids, r.AttrValue("id"))
		f.results, f.messages = append(f.results, r), append(f.messages, m)
	}
	return f
}

func page1(n int, more ...string) string {
	return fmt.Sprintf("<set xmlns='%s'><max>%d</max>%s</set>", NSRSM, n, strings.Join(more, ""))
}

// talk makes a room in which two say n messages in turn, and returns their ids.
func (w *world) talk(n int) (ids []string) {
	w.t.Helper()
	w.open(crone1, "coven", "firstwitch")
	w.enter(crone2, "coven", "secondwitch")
	for i := range n {
		who := []string{crone1, crone2}[i%2]
		ids = append(ids, stanzaID(w.only(w.say(who, "coven", fmt.Sprint("m", i), fmt.Sprint("line ", i)), who)))
	}
	return ids
}

func stanzaID(s *component.Stanza) string { return s.Child(NSSID, "stanza-id").AttrValue("id") }

// XEP-0313 §4: a query brings what was said, in its order, then a result with fin.
// §3.4: the id is the stanza-id of the live message. §6.1.2: no 'to', from is the occupant.
// XEP-0421: the occupant id is kept.
func TestArchive(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	w.enter(hag, "coven", "thirdwitch")
	live := w.only(w.send("<message type='groupchat' id='m1' xml:lang='en' from='"+crone1+"' to='coven@"+domain+"'><body>A &lt;cat&gt; mew&apos;d.</body>"+
		"<x xmlns='"+NSUser+"'><item jid='forged@shakespeare.lit'/></x><origin-id xmlns='"+NSSID+"' id='m1'/></message>"), hag)
	f := w.query(hag, "coven", "")
	require.Empty(t, f.err)
	require.Equal(t, []string{stanzaID(live)}, f.ids)
	m := f.messages[0]
	_, hasTo := m.LookupAttr("to")
	require.False(t, hasTo)
	require.Equal(t, "coven@"+domain+"/firstwitch", m.AttrValue("from"))
	require.Equal(t, "m1", m.AttrValue("id"))
	require.Equal(t, "groupchat", m.AttrValue("type"))
	require.Equal(t, []string{"A <cat> mew'd."}, f.bodies())
	require.Equal(t, live.Child(NSOccupantID, "occupant-id").AttrValue("id"), m.Child(NSOccupantID, "occupant-id").AttrValue("id"))
	require.Equal(t, f.ids[0], m.Child(NSSID, "stanza-id").AttrValue("id"))
	require.NotNil(t, m.Child(NSSID, "origin-id"))
	require.Nil(t, m.Child(NSUser, "x"))
	stamp, err := time.Parse(time.RFC3339, f.results[0].Child(NSForward, "forwarded").Child(NSDelay, "delay").AttrValue("stamp"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), stamp, time.Minute)
	require.Equal(t, "true", f.fin.AttrValue("complete"))
	require.Equal(t, f.ids[0], f.rsm("first"))
	require.Equal(t, f.ids[0], f.rsm("last"))
	require.Equal(t, "1", f.rsm("count"))
}

// XEP-0313 §3: ids are unpredictable and unique; another room's are unknown.
func TestArchiveIDs(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(3)
	require.Len(t, ids[0], 22)
	require.NotEqual(t, ids[0][:8], ids[1][:8])
	w.open(crone1, "heath", "firstwitch")
	other := stanzaID(w.only(w.say(crone1, "heath", "m", "Hail"), crone1))
	require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", "", "after-id", other).err)
	require.Equal(t, ids, w.query(crone1, "coven", "").ids)
	r := w.sv.awake("coven").room
	_, ok := r.parseID(other)
	require.False(t, ok, "it is known without a look into the archive")
	id, ok := r.parseID(ids[2])
	require.True(t, ok)
	require.Equal(t, r.lastID, id)
	w.restart()
	require.Equal(t, ids, w.query(crone1, "coven", "").ids)
	r = w.sv.awake("coven").room
	require.Equal(t, id, r.lastID)
	r.now = time.UnixMicro(1) // the clock goes back
	require.Equal(t, id+1, r.nextID())
}

// XEP-0313 §4.3, XEP-0059: pages forwards, backwards, the last one, and none.
func TestArchivePages(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(7)
	f := w.query(crone1, "coven", page1(3))
	require.Equal(t, ids[:3], f.ids)
	require.Equal(t, "7", f.rsm("count"))
	require.Equal(t, "0", f.fin.Child(NSRSM, "set").Child(NSRSM, "first").AttrValue("index"))
	require.NotEqual(t, "true", f.fin.AttrValue("complete"))
	f = w.query(crone1, "coven", page1(3, "<after>"+ids[2]+"</after>"))
	require.Equal(t, ids[3:6], f.ids)
	require.Equal(t, "3", f.fin.Child(NSRSM, "set").Child(NSRSM, "first").AttrValue("index"))
	f = w.query(crone1, "coven", page1(3, "<after>"+ids[5]+"</after>"))
	require.Equal(t, ids[6:], f.ids)
	require.Equal(t, "true", f.fin.AttrValue("complete"))
	f = w.query(crone1, "coven", page1(3, "<before/>"))
	require.Equal(t, ids[4:], f.ids, "the last page is in order too")
	require.Empty(t, f.fin.AttrValue("complete"))
	f = w.query(crone1, "coven", page1(5, "<before>"+ids[4]+"</before>"))
	require.Equal(t, ids[:4], f.ids)
	require.Equal(t, "true", f.fin.AttrValue("complete"))
	f = w.query(crone1, "coven", page1(2, "<before>"+ids[4]+"</before>")+"<flip-page/>")
	require.Equal(t, []string{ids[3], ids[2]}, f.ids, "§4.3.4: flipped")
	require.Equal(t, ids[2], f.rsm("first"))
	f = w.query(crone1, "coven", page1(0))
	require.Empty(t, f.ids)
	require.Equal(t, "7", f.rsm("count"))
	require.Empty(t, f.fin.AttrValue("complete"))
	f = w.query(crone1, "coven", page1(10, "<after>"+ids[6]+"</after>"))
	require.Empty(t, f.ids)
	require.Equal(t, "true", f.fin.AttrValue("complete"))
	for _, unknown := range []string{"28482-98726-73623", "AAAAAAAAAAAAAAAAAAAAAA"} {
		require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", page1(3, "<after>"+unknown+"</after>")).err)
		require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", page1(3, "<before>"+unknown+"</before>")).err)
	}
	require.Equal(t, "modify/bad-request", w.query(crone1, "coven", "<set xmlns='"+NSRSM+"'><max>-1</max></set>").err)
}

// XEP-0313 §4.3.1: what one request brings is limited: 50, 250 if more is asked for, and
// in octets.
func TestArchivePageLimits(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Limits.MessageRate = -1; o.Limits.Message = 1 << 20 })
	w.talk(260)
	require.Len(t, w.query(crone1, "coven", "").ids, 50)
	require.Len(t, w.query(crone1, "coven", page1(1000)).ids, 250)
	long := strings.Repeat("x", pageBytes/3)
	w.open(crone1, "heath", "firstwitch")
	for i := range 5 {
		w.say(crone1, "heath", fmt.Sprint("m", i), long)
	}
	f := w.query(crone1, "heath", "")
	require.Len(t, f.ids, 2)
	require.Empty(t, f.fin.AttrValue("complete"))
	last := w.query(crone1, "heath", page1(9, "<before/>"))
	require.Len(t, last.ids, 2)
	require.Equal(t, "3", last.fin.Child(NSRSM, "set").Child(NSRSM, "first").AttrValue("index"))
}

// XEP-0313 §4.1.2, §4.1.3: filters by time and id.
func TestArchiveFilters(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	var ids, stamps []string
	for i := range 4 {
		time.Sleep(2 * time.Millisecond) // so that their times differ
		ids = append(ids, stanzaID(w.only(w.say(crone1, "coven", fmt.Sprint("m", i), fmt.Sprint("line ", i)), crone1)))
	}
	for _, r := range w.query(crone1, "coven", "").results {
		stamps = append(stamps, r.Child(NSForward, "forwarded").Child(NSDelay, "delay").AttrValue("stamp"))
	}
	require.Len(t, stamps, 4)
	require.Equal(t, ids[1:], w.query(crone1, "coven", "", "start", stamps[1]).ids)
	require.Equal(t, ids[:3], w.query(crone1, "coven", "", "end", stamps[2]).ids)
	require.Equal(t, ids[1:3], w.query(crone1, "coven", "", "start", stamps[1], "end", stamps[2]).ids)
	require.Equal(t, ids, w.query(crone1, "coven", "", "start", "2002-09-07T23:08:25Z", "end", "2999-01-01T00:00:00+01:00").ids)
	none := w.query(crone1, "coven", "", "start", "2999-01-01T00:00:00Z")
	require.Empty(t, none.err)
	require.Empty(t, none.ids)
	require.Equal(t, "true", none.fin.AttrValue("complete"))
	require.Equal(t, "modify/bad-request", w.query(crone1, "coven", "", "start", "yesterday").err)

	require.Equal(t, ids[2:], w.query(crone1, "coven", "", "after-id", ids[1]).ids)
	require.Equal(t, ids[:1], w.query(crone1, "coven", "", "before-id", ids[1]).ids)
	between := w.query(crone1, "coven", "", "after-id", ids[0], "before-id", ids[3])
	require.Equal(t, ids[1:3], between.ids)
	require.Equal(t, "2", between.rsm("count"))
	require.Equal(t, []string{ids[0], ids[3]}, w.query(crone1, "coven", "", "ids", ids[3]+"\n"+ids[0]).ids)
	for _, field := range []string{"before-id", "after-id", "ids"} {
		require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", "", field, "28482-98726-73623").err, field)
	}
	require.Equal(t, "cancel/item-not-found", w.query(crone1, "coven", "", "ids", ids[0]+"\nnothing").err)
}

// XEP-0313 §4.1.5: the form, and a field that is not known.
func TestArchiveForm(t *testing.T) {
	w := newWorld(t)
	w.talk(1)
	f := component.ParseForm(w.get(crone1, "coven", "<query xmlns='"+NSMAM+"'/>").Child(NSMAM, "query").Child(component.NSData, "x"))
	require.Equal(t, NSMAM, f.FormType)
	types := map[string]string{}
	for _, field := range f.Fields {
		types[field.Var] = field.Type
		require.False(t, field.Required)
	}
	require.Equal(t, map[string]string{"with": "jid-single", "start": "text-single", "end": "text-single", "before-id": "text-single",
		"after-id": "text-single", "ids": "list-multi", "{urn:xmpp:fulltext:0}fulltext": "text-single"}, types)
	require.Equal(t, "cancel/feature-not-implemented", w.query(crone1, "coven", "", "{urn:example}mood", "lonely").err)
	wrong := w.only(w.set(crone1, "coven", "<query xmlns='"+NSMAM+"'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:9</value></field></x></query>"), crone1)
	require.Equal(t, "modify/bad-request", condition(wrong))
}

// XEP-0313 §4.1.1: by who wrote it; by real JID for those only who may know it.
func TestArchiveWith(t *testing.T) {
	w := newWorld(t)
	ids := w.talk(4)
	w.enter(hag, "coven", "thirdwitch")
	own := stanzaID(w.only(w.say(hag, "coven", "m", "Harpier cries"), hag))
	first, second := []string{ids[0], ids[2]}, []string{ids[1], ids[3]}
	require.Equal(t, second, w.query(hag, "coven", "", "with", "coven@"+domain+"/secondwitch").ids)
	require.Len(t, w.query(hag, "coven", "", "with", "coven@"+domain).ids, 5)
	require.Equal(t, "auth/forbidden", w.query(hag, "coven", "", "with", jid.MustParse(crone2).Bare().String()).err)
	require.Equal(t, "auth/forbidden", w.query(hag, "coven", "", "with", "nobody@shakespeare.lit").err, "no oracle")
	require.Equal(t, []string{own}, w.query(hag, "coven", "", "with", jid.MustParse(hag).Bare().String()).ids, "oneself")
	require.Equal(t, first, w.query(crone1, "coven", "", "with", jid.MustParse(crone1).Bare().String()).ids)
	require.Equal(t, second, w.query(crone1, "coven", "", "with", crone2).ids)
	require.Empty(t, w.query(crone1, "coven", "", "with", strings.ToUpper(crone2[:3])+crone2[3:]+"x").ids)
	require.Equal(t, "modify/jid-malformed", w.query(crone1, "coven", "", "with", "@").err)
	// What was said while JIDs were secret stays so (the room promised it), the rest does not.
	w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	open := stanzaID(w.only(w.say(crone2, "coven", "m", "Round about the cauldron go"), crone2))
	require.Equal(t, []string{open}, w.query(hag, "coven", "", "with", jid.MustParse(crone2).Bare().String()).ids)
}

// XEP-0313 §6.1.2: real JIDs are for those who may see them.
func TestArchiveJIDs(t *testing.T) {
	w := newWorld(t)
	w.talk(2)
	w.enter(hag, "coven", "thirdwitch")
	w.say(hag, "coven", "m", "Harpier cries")
	jids := func(who string) (all []string) {
		for _, m := range w.query(who, "coven", "").messages {
			all = append(all, m.Child(NSUser, "x").Child(NSUser, "item").AttrValue("jid"))
		}
		return all
	}
	require.Equal(t, []string{"", "", hag}, jids(hag))
	require.Equal(t, []string{crone1, crone2, hag}, jids(crone1))
	x := w.query(crone1, "coven", "").messages[0].Child(NSUser, "x").Child(NSUser, "item")
	require.Equal(t, "owner", x.AttrValue("affiliation"))
	require.Equal(t, "moderator", x.AttrValue("role"))
	w.configure(crone1, "coven", "muc#roomconfig_whois", "anyone")
	w.say(crone2, "coven", "m", "Round about the cauldron go")
	require.Equal(t, []string{"", "", hag, crone2}, jids(hag))
}

// XEP-0431: all words, anywhere, in any case; what LIKE takes for a pattern is none.
func TestArchiveSearch(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	for i, body := range []string{"Thrice the brinded cat hath mew'd", "Thrice and once the hedge-pig whined", "100% toad", "100 toads", "ÄRGER", "a_b"} {
		w.say(crone1, "coven", fmt.Sprint("m", i), body)
	}
	search := func(text string) []string { return w.query(crone1, "coven", "", fieldFulltext, text).bodies() }
	require.Len(t, search("thrice"), 2)
	require.Equal(t, []string{"Thrice and once the hedge-pig whined"}, search("  PIG  thrice "))
	require.Equal(t, []string{"100% toad"}, search("100%"))
	require.Equal(t, []string{"a_b"}, search("_"))
	require.Equal(t, []string{"ÄRGER"}, search("ärger"))
	require.Empty(t, search("!"))
	require.Equal(t, []string{"a_b"}, w.query(crone1, "coven", "", "withtext", "a_b").bodies())
	require.Equal(t, "modify/bad-request", w.query(crone1, "coven", "", fieldFulltext, strings.Repeat("a ", 30)).err)
}

// XEP-0313 §5: metadata. XEP-0441 §2.1: preferences are not for rooms.
func TestArchiveMetadata(t *testing.T) {
	w := newWorld(t)
	w.open(crone1, "coven", "firstwitch")
	require.Empty(t, w.get(crone1, "coven", "<metadata xmlns='"+NSMAM+"'/>").Child(NSMAM, "metadata").Nodes)
	var ids []string
	for i := range 3 {
		ids = append(ids, stanzaID(w.only(w.say(crone1, "coven", fmt.Sprint("m", i), "x"), crone1)))
	}
	m := w.get(crone1, "coven", "<metadata xmlns='"+NSMAM+"'/>").Child(NSMAM, "metadata")
	require.Equal(t, ids[0], m.Child(NSMAM, "start").AttrValue("id"))
	require.Equal(t, ids[2], m.Child(NSMAM, "end").AttrValue("id"))
	_, err := time.Parse(time.RFC3339, m.Child(NSMAM, "end").AttrValue("timestamp"))
	require.NoError(t, err)
	require.Equal(t, "auth/forbidden", func() string {
		w.admin(crone1, "coven", "<item affiliation='outcast' jid='"+jid.MustParse(stranger).Bare().String()+"'/>")
		return condition(w.get(stranger, "coven", "<metadata xmlns='"+NSMAM+"'/>"))
	}())
	for _, typ := range []string{"get", "set"} {
		s := w.only(w.send("<iq type='"+typ+"' id='p' from='"+crone1+"' to='coven@"+domain+"'><prefs xmlns='"+NSMAM+"'/></iq>"), crone1)
		require.Equal(t, "cancel/feature-not-implemented", condition(s))
	}
}
