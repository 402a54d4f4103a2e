package muc

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

const users = "u.example"

// A script makes stanzas of bytes: few users, clients, and nicknames, so that they meet.
type script struct {
	rest []byte
	n    int // of stanzas
}

// next is a number below n.
func (s *script) next(n int) int {
	if len(s.rest) == 0 {
		return 0
	}
	b := int(s.rest[0])
	s.rest = s.rest[1:]
	return b % n
}

func (s *script) pick(of ...string) string { return of[s.next(len(of))] }

func (s *script) user() string {
	return s.pick("owner", "anna", "berta", "carla") + "@" + users
}
func (s *script) nick() string { return s.pick("o", "a", "b", "c", "d") }

const fuzzed = "room@" + domain

// stanza is the next stanza of the script, as XML.
func (s *script) stanza() string {
	s.n++
	from := s.user() + "/" + s.pick("1", "2")
	presence := func(typ, to, payload string) string {
		return fmt.Sprintf("<presence id='p%d' from='%s' to='%s' %s>%s</presence>", s.n, from, to, typ, payload)
	}
	message := func(typ, to, payload string) string {
		return fmt.Sprintf("<message id='m%d' from='%s' to='%s' type='%s'>%s</message>", s.n, from, to, typ, payload)
	}
	iq := func(typ, to, payload string) string {
		return fmt.Sprintf("<iq id='i%d' from='%s' to='%s' type='%s'>%s</iq>", s.n, from, to, typ, payload)
	}
	form := func(typ string, fields ...string) string {
		f := "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>" + typ + "</value></field>"
		for i := 0; i < len(fields); i += 2 {
			f += "<field var='" + fields[i] + "'>"
			for v := range strings.FieldsSeq(fields[i+1]) {
				f += "<value>" + v + "</value>"
			}
			f += "</field>"
		}
		return f + "</x>"
	}
	forged := "<x xmlns='" + NSUser + "'><item affiliation='owner' role='moderator' jid='mallory@" + users + "/1'/><status code='110'/></x>" +
		"<occupant-id xmlns='" + NSOccupantID + "' id='forged'/><stanza-id xmlns='" + NSSID + "' by='" + fuzzed + "' id='1'/>"
	occupant := fuzzed + "/" + s.nick()
	switch s.next(33) {
	case 0, 1, 2, 3, 4:
		return presence("", occupant, "<x xmlns='"+NSMUC+"'><password>"+s.pick("secret", "wrong")+"</password></x>")
	case 5, 6:
		return presence("", occupant, "<show>"+s.pick("away", "dnd")+"</show>"+forged)
	case 7:
		return presence("", fuzzed, "<show>xa</show>")
	case 8, 9:
		return presence("type='unavailable'", occupant, "<status>bye</status>"+forged)
	case 10:
		return presence("type='"+s.pick("error", "probe", "subscribe", "unsubscribed")+"'", s.pick(occupant, fuzzed), "")
	case 11, 12, 13:
		return message("groupchat", fuzzed, "<body>said</body>"+s.pick("", "<thread>t</thread>", forged))
	case 14:
		return message("groupchat", fuzzed, "<subject>"+s.pick("", "of this")+"</subject>")
	case 15:
		return message(s.pick("chat", "normal", "groupchat", "headline"), s.pick(occupant, fuzzed), "<body>private</body>"+s.pick("", forged))
	case 16:
		return message("error", s.pick(occupant, fuzzed), "<error type='cancel'><"+s.pick("item-not-found", "service-unavailable", "policy-violation")+
			" xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")
	case 17, 18, 19:
		return iq("set", fuzzed, "<query xmlns='"+NSAdmin+"'>"+s.items()+"</query>")
	case 20, 21, 22:
		fields := []string{}
		for range s.next(3) + 1 {
			fields = append(fields, s.pick("muc#roomconfig_membersonly", "muc#roomconfig_moderatedroom", "muc#roomconfig_publicroom",
				"muc#roomconfig_persistentroom", "muc#roomconfig_enablelogging", "{urn:xmpp:allium:0}show_members"), s.pick("0", "1"))
		}
		return iq("set", fuzzed, "<query xmlns='"+NSOwner+"'>"+form(NSRoomConfig, fields...)+"</query>")
	case 23:
		return iq("set", fuzzed, "<query xmlns='"+NSOwner+"'>"+form(NSRoomConfig, "muc#roomconfig_presencebroadcast",
			s.pick("", "moderator", "moderator participant", "participant visitor", "moderator participant visitor"),
			"muc#roomconfig_whois", s.pick("moderators", "anyone"), "muc#maxhistoryfetch", s.pick("2", "0", "20"),
			"muc#roomconfig_membersonly", s.pick("0", "1"))+"</query>")
	case 24:
		return iq("set", fuzzed, "<query xmlns='"+NSOwner+"'>"+s.pick(
			form(NSRoomConfig, "muc#roomconfig_roomowners", s.user()+" "+s.user(), "muc#roomconfig_roomadmins", s.user()),
			form(NSRoomConfig, nsKind, s.pick(KindNames()...)),
			form(NSRoomConfig, "muc#roomconfig_passwordprotectedroom", s.pick("0", "1"), "muc#roomconfig_roomsecret", "secret"),
			"<x xmlns='jabber:x:data' type='cancel'/>",
			"<destroy jid='other@"+domain+"'><reason>enough</reason></destroy>")+"</query>")
	case 25:
		return iq("set", fuzzed, "<query xmlns='"+NSRegister+"'>"+s.pick("<remove/>", form(NSRegisterMU, fieldNick, s.nick()))+"</query>")
	case 26:
		return message("normal", fuzzed, "<x xmlns='"+NSUser+"'>"+s.mediated()+"</x>")
	case 27:
		return message("normal", fuzzed, form(NSRequest, "muc#role", "participant", s.pick("muc#request_allow", "nothing"), "1", "muc#roomnick", s.nick()))
	case 28:
		return iq("get", occupant, s.pick("<ping xmlns='urn:xmpp:ping'/>", "<vCard xmlns='vcard-temp'/>", "<query xmlns='jabber:iq:version'/>"))
	case 29:
		return strings.Replace(iq(s.pick("result", "error"), occupant, ""), fmt.Sprintf("'i%d'", s.n), fmt.Sprintf("'%d.i1'", s.next(256)), 1)
	case 30:
		return iq("get", fuzzed, s.pick("<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='http://jabber.org/protocol/disco#items'/>",
			"<query xmlns='"+NSAdmin+"'><item affiliation='member'/></query>", "<query xmlns='"+NSAdmin+"'><item role='participant'/></query>",
			"<query xmlns='"+NSOwner+"'/>", "<query xmlns='"+NSRegister+"'/>", "<unknown xmlns='urn:x'/>"))
	case 31:
		return iq("set", fuzzed, commandXML(s.pick(hatNode+"create", hatNode+"assign", hatNode+"unassign", hatNode+"destroy", hatNode+"list-assigned",
			NSAllium+"#invite", NSAllium+"#invitations"), "hats#title", "Hat", "hats#uri", s.pick("urn:h:1", "urn:h:2"), "hats#jid", s.user()))
	}
	gone := "<error type='cancel'><" + s.pick("item-not-found", "service-unavailable", "feature-not-implemented") + " xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
	return strings.Replace(s.pick(iq("error", fuzzed, gone), message("error", fuzzed, gone)), "id='", "id='"+ghostID, 1)
}

// items are those of a request that changes roles and affiliations.
func (s *script) items() string {
	items := ""
	for range s.next(3) + 1 {
		if s.next(2) == 0 {
			items += "<item nick='" + s.nick() + "' role='" + s.pick("none", "visitor", "participant", "moderator") + "'/>"
		} else {
			items += "<item jid='" + s.user() + "' affiliation='" + s.pick("outcast", "none", "member", "admin", "owner") + "'" + s.pick("", " nick='"+s.nick()+"'") + "/>"
		}
	}
	return items
}

// FuzzRoom gives a room stanzas in any order, and checks that what everybody believes of
// it is true, whatever was said.
func FuzzRoom(f *testing.F) {
	enter := func(user, client, nick byte) []byte { return []byte{user, client, nick, 0, 0} }
	seed := append(enter(1, 0, 1), enter(2, 0, 2)...)
	f.Add(append([]byte{4, 1}, seed...))
	f.Add(append(append([]byte{0, 1}, seed...), 1, 0, 1, 11, 0, 0, 0, 1, 17, 0, 0, 1, 1))
	f.Add(append(append([]byte{1, 1}, seed...), 1, 1, 1, 0, 0, 1, 0, 3, 5, 0, 0, 0, 0, 23, 1, 1, 1, 1))
	random := rand.NewChaCha8([32]byte{})
	for range 30 {
		long := make([]byte, 400)
		random.Read(long)
		f.Add(long)
	}
	f.Fuzz(func(t *testing.T, data []byte) { runScript(t, &script{rest: data}) })
}

func runScript(t *testing.T, s *script) {
	now := time.Date(2010, 4, 20, 0, 0, 0, 0, time.UTC)
	sv := &settings{key: []byte("key"), limits: Limits{MessageRate: -1, PresenceRate: -1, VoiceRate: -1, Occupants: 6}.orDefault(),
		admin: func(jid.JID) bool { return false }, creator: func(jid.JID) bool { return true },
		dialogs: &component.Dialogs{}, motd: &motd{}}
	r := newRoom(sv, jid.MustParse(fuzzed), new(KindConfig(KindNames()[s.next(5)])))
	r.creator, r.locked, r.now, r.warm = "owner@"+users, true, now, true
	r.affiliate(r.creator, affiliate{level: Owner})
	r.out = new(output)
	w := newWatcher(t, r)
	step := func(xml string) {
		knew := map[string]bool{} // who may know real JIDs
		for _, o := range r.list {
			knew[o.bare().String()] = knew[o.bare().String()] || r.seesJIDs(o) || o.affiliation >= Admin
		}
		for _, a := range r.affiliates {
			knew[a.jid] = knew[a.jid] || a.level >= Admin
		}
		now = now.Add(10 * time.Second)
		st := parseOne(t, xml)
		r.handle(st, now)
		w.handled(parseOne(t, xml), knew)
	}
	step("<presence from='owner@" + users + "/1' to='" + fuzzed + "/o'><x xmlns='" + NSMUC + "'/></presence>")
	if s.next(4) > 0 {
		step("<iq type='set' id='unlock' from='owner@" + users + "/1' to='" + fuzzed + "'><query xmlns='" + NSOwner + "'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
	}
	for len(s.rest) > 0 && !r.gone && s.n < 100 {
		step(s.stanza())
		if s.n%16 == 15 {
			r.pingSilent(time.Minute)
			w.handled(nil, nil)
		}
	}
	if !r.gone {
		r.shutDown()
		w.handled(nil, nil)
	}
}

func parseOne(t *testing.T, xml string) *component.Stanza {
	e, err := component.NewContentDecoder(strings.NewReader(xml), component.NSAccept, component.Limits{}).Next()
	require.NoError(t, err, "%s", xml)
	s, err := component.ParseStanza(e)
	require.NoError(t, err, "%s", xml)
	return s
}

func (s *script) mediated() string {
	name := s.pick("invite", "decline")
	return "<" + name + " to='" + s.user() + "'><reason>why</reason></" + name + ">"
}
