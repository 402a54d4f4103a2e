package muc

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// maxNote bounds the note of an invitation, in octets.
const maxNote = 200

// inviteByLink makes an invitation, and shows the link that whoever has it enters by.
func (r *room) inviteByLink(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return askFor(NSAllium, "Invite by link", "Whoever enters the room by the link becomes a member.",
			component.Field{Var: "uses", Type: "text-single", Label: "How many people can use it (0: any number)", Values: []string{"1"}},
			component.Field{Var: "hours", Type: "list-single", Label: "How long it is valid", Values: []string{"168"}, Options: []component.Option{
				{Label: "an hour", Value: "1"}, {Label: "a day", Value: "24"}, {Label: "a week", Value: "168"},
				{Label: "30 days", Value: "720"}, {Label: "for ever", Value: "0"}}},
			component.Field{Var: "note", Type: "text-single", Label: "Note, for the list of invitations"})
	}
	uses, ok := numberOf(f, "uses", 1)
	hours, ok2 := numberOf(f, "hours", 168)
	note := f.Value("note")
	if !ok || !ok2 || len(note) > maxNote {
		return nil, component.BadPayload("Uses and hours are numbers, and the note is short.")
	}
	if uses == 0 {
		uses = -1
	}
	if !r.roomForInvitation() {
		return nil, fail(stanza.Wait, stanza.ResourceConstraint, "There are too many invitations. Revoke some.")
	}
	token, i := r.newInvitation(c.Request.From.Bare().String(), note, uses, time.Duration(hours)*time.Hour)
	result := &component.Form{Type: "result", FormType: NSAllium, Title: "Invitation", Fields: []component.Field{
		{Var: "uri", Type: "text-single", Label: "Link", Values: []string{joinURI(r.addr, token)}}}}
	told := "The link is shown this once, and cannot be seen again."
	if r.onionOf != nil {
		if onion, ok := r.onionOf(r.addr); ok {
			result.Fields = append(result.Fields, component.Field{Var: "onion-uri", Type: "text-single",
				Label: "Link for users of onion servers", Values: []string{joinURI(onion, token)}})
			told += " Whose server has a gateway to onion servers enters " + onion.String() +
				" there instead, and the password when joining the room."
		}
	}
	result.Fields = append(result.Fields,
		component.Field{Var: "password", Type: "text-single", Label: "Password, where a link cannot be used", Values: []string{token}},
		component.Field{Var: "id", Type: "text-single", Label: "Listed as", Values: []string{i.id()}},
		component.Field{Var: "uses", Type: "text-single", Label: "Uses", Values: []string{i.usesLeft()}},
		component.Field{Var: "expires", Type: "text-single", Label: "Valid until", Values: []string{i.validUntil()}})
	return &component.Reply{Form: result, Note: told}, nil
}

// numberOf is a number of a form from 0 to a million, or what it is if it is not given.
func numberOf(f *component.Form, field string, def int) (int, bool) {
	v := strings.TrimSpace(f.Value(field))
	if v == "" {
		return def, true
	}
	n, err := strconv.Atoi(v)
	return n, err == nil && n >= 0 && n <= 1_000_000
}

// roomForInvitation forgets the oldest invitation that is over, if there are as many as
// there can be. It is false if none is.
func (r *room) roomForInvitation() bool {
	if len(r.invitations) < maxInvitations {
		return true
	}
	n := slices.IndexFunc(r.invitations, func(i *invitation) bool { return i.over(r.now) })
	if n >= 0 {
		r.revoke(n)
	}
	return n >= 0
}

func (r *room) revoke(n int) {
	r.change(dropInvitation{Room: r.addr.Localpart(), Hash: r.invitations[n].hash})
	r.invitations = slices.Delete(r.invitations, n, n+1)
}

// joinURI is the link to enter a room with a password (XEP-0045 §16.7).
func joinURI(room jid.JID, password string) string {
	return "xmpp:" + url.PathEscape(room.Localpart()) + "@" + room.Domainpart() + "?join;password=" + password
}

func (i *invitation) usesLeft() string {
	if i.uses < 0 {
		return "any number"
	}
	return strconv.Itoa(i.uses)
}

func (i *invitation) validUntil() string {
	if i.expires == 0 {
		return "ever"
	}
	return time.Unix(i.expires, 0).UTC().Format(time.RFC3339)
}

// listInvitations lists the invitations, also those that are over.
func (r *room) listInvitations(*component.Call) (*component.Reply, error) {
	var rows [][]string
	for _, i := range r.invitations {
		rows = append(rows, []string{i.id(), i.note, i.usesLeft(), i.validUntil(), i.creator})
	}
	return table(NSAllium, "Invitations", []component.Field{{Var: "id", Label: "Invitation"}, {Var: "note", Label: "Note"},
		{Var: "uses", Label: "Uses left"}, {Var: "expires", Label: "Valid until"}, {Var: "creator", Type: "jid-single", Label: "Made by"}}, rows)
}

// revokeInvitation makes an invitation worth nothing. Who became a member by it stays one.
func (r *room) revokeInvitation(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		field := component.Field{Var: "id", Type: "list-single", Label: "Invitation", Required: true}
		if len(r.invitations) == 0 {
			return done("There are no invitations.")
		}
		for _, i := range r.invitations {
			field.Options = append(field.Options, component.Option{Label: strings.TrimSpace(i.id() + " " + i.note), Value: i.id()})
		}
		return askFor(NSAllium, "Revoke an invitation", "Who became a member by it stays one.", field)
	}
	n := slices.IndexFunc(r.invitations, func(i *invitation) bool { return i.id() == f.Value("id") })
	if n < 0 {
		return nil, errNotFound
	}
	r.revoke(n)
	return done("The invitation is revoked.")
}
