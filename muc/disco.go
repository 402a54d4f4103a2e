package muc

import (
	"slices"
	"strconv"
	"strings"

	"github.com/allium-xmpp/allium/component"
)

// features are what every room can do.
var features = []string{NSMUC, component.NSDiscoInfo, component.NSDiscoItem, component.NSPing, NSRegister, NSRequest,
	NSSelfPing, NSStableID, NSOccupantID, NSSID, NSVCard, NSModerate, NSModerate0, NSRetract, NSHats, NSCommands}

// discoInfo tells about the room (XEP-0045 §6.4).
func (r *room) discoInfo(ses *session, s *component.Stanza) error {
	switch s.Payload().AttrValue("node") {
	case "":
	case "x-roomuser-item": // §7.12
		q := component.NewElement(component.NSDiscoInfo, "query").With("node", "x-roomuser-item")
		if nick := r.affiliates.get(s.From.Bare().String()).nick; nick != "" {
			q.Add(identity(nick))
		}
		r.result(s, q)
		return nil
	case NSTraffic:
		return errUnsupported // nothing is held back from what goes through a room (§18.2)
	default:
		return r.command(ses, s)
	}
	q := component.NewElement(component.NSDiscoInfo, "query", identity(r.title()).Node())
	c := r.cfg
	for _, f := range features {
		q.Add(feature(f))
	}
	choose := func(is bool, yes, no string) {
		if !is {
			yes = no
		}
		q.Add(feature(yes))
	}
	choose(c.Public, "muc_public", "muc_hidden")
	choose(c.MembersOnly, "muc_membersonly", "muc_open")
	choose(c.Moderated, "muc_moderated", "muc_unmoderated")
	choose(c.NonAnon, "muc_nonanonymous", "muc_semianonymous")
	choose(c.Protected, "muc_passwordprotected", "muc_unsecured")
	choose(c.Persistent, "muc_persistent", "muc_temporary")
	if r.archives() {
		q.Add(feature(NSMAM), feature(NSMAMExtended), feature(NSFulltext), feature(NSTombstone))
	}
	q.Add(r.roomInfo())
	r.result(s, q)
	return nil
}

func (r *room) title() string {
	if r.cfg.Name != "" {
		return r.cfg.Name
	}
	return r.addr.Localpart()
}

func identity(name string) *component.Element {
	return component.NewElement(component.NSDiscoInfo, "identity").With("category", "conference").With("type", "text").With("name", name)
}

func feature(name string) *component.Element {
	return component.NewElement(component.NSDiscoInfo, "feature").With("var", name)
}

// toldOptions are those of the configuration that clients want to know of, to offer no more
// than there is.
var toldOptions = []string{"muc#roomconfig_changesubject", "muc#roomconfig_allowinvites", "muc#roomconfig_allowpm"}

// roomInfo is the form of XEP-0045 §6.4.
func (r *room) roomInfo() *component.Element {
	c := r.cfg
	f := component.Form{Type: "result", FormType: NSRoomInfo}
	add := func(name, typ, label string, values ...string) {
		f.Fields = append(f.Fields, component.Field{Var: name, Type: typ, Label: label, Values: values})
	}
	add("muc#roominfo_description", "text-single", "Description", c.Description)
	add("muc#roominfo_subject", "text-single", "Subject", r.subject.Text)
	add("muc#roominfo_subjectmod", "boolean", "Occupants may change the subject", component.FormatBool(c.Subject))
	add("muc#roominfo_occupants", "text-single", "Number of occupants", strconv.Itoa(len(r.list)))
	add("muc#maxhistoryfetch", "text-single", "Messages that who enters gets", strconv.Itoa(r.historyLength()))
	for _, o := range configForm {
		if slices.Contains(toldOptions, o.name) {
			add(o.name, o.typ, o.label, o.get(c)...)
		}
	}
	if c.Lang != "" {
		add("muc#roominfo_lang", "text-single", "Language", c.Lang)
	}
	if c.PubSub != "" {
		add("muc#roominfo_pubsub", "text-single", "Associated pubsub node", c.PubSub)
	}
	if r.avatar != "" {
		add("muc#roominfo_avatarhash", "text-multi", "Hash of the picture", strings.Fields(r.avatar)...)
	}
	if hash := r.hatsHash(); hash != "" {
		add("hats#hash", "text-single", "Hash of the hats", hash)
	}
	return f.Element()
}

// discoItems lists the occupants, where that is nobody's secret (XEP-0045 §6.5).
func (r *room) discoItems(ses *session, s *component.Stanza) error {
	if node := s.Payload().AttrValue("node"); node == NSCommands {
		return r.command(ses, s)
	} else if node != "" {
		return errNotFound
	}
	q := component.NewElement(component.NSDiscoItem, "query")
	if ses != nil || r.cfg.Public && !r.cfg.MembersOnly && !r.cfg.Protected || r.affiliation(s.From.Bare()) >= Member {
		for _, o := range r.list {
			if r.shown.Has(o.told) || ses != nil && r.visibleTo(ses.occ, o) {
				q.Add(component.NewElement(component.NSDiscoItem, "item").With("jid", o.from))
			}
		}
	}
	r.result(s, q)
	return nil
}
