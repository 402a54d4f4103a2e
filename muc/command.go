package muc

import (
	"strings"

	"mellium.im/xmpp/jid"

	"github.com/allium-xmpp/allium/component"
)

// commands are the ad-hoc commands of the room (XEP-0050) that there are for who asks.
func (r *room) commands(ses *session) []component.Command {
	admins := func(from jid.JID) bool { return r.affiliation(from.Bare()) >= Admin }
	insiders := func(from jid.JID) bool { return ses != nil || r.affiliation(from.Bare()) >= Member }
	return []component.Command{
		{Node: NSAllium + "#invite", Name: "Invite by link", May: admins, Do: r.inviteByLink},
		{Node: NSAllium + "#invitations", Name: "Invitations", May: admins, Do: r.listInvitations},
		{Node: NSAllium + "#revoke-invitation", Name: "Revoke an invitation", May: admins, Do: r.revokeInvitation},
		{Node: nsHatCommands + ":create", Name: "Create or change a hat", May: admins, Do: r.createHat},
		{Node: nsHatCommands + ":destroy", Name: "Destroy a hat", May: admins, Do: r.destroyHat},
		{Node: nsHatCommands + ":list", Name: "Hats", May: insiders, Do: r.listHats},
		{Node: nsHatCommands + ":assign", Name: "Give somebody a hat", May: admins, Do: r.assignHat},
		{Node: nsHatCommands + ":unassign", Name: "Take a hat from somebody", May: admins, Do: r.unassignHat},
		{Node: nsHatCommands + ":list-assigned", Name: "Who has which hat", May: admins, Do: r.listWearers},
	}
}

// command answers requests about the room's commands. Who asks hears of what was done
// before the others do.
func (r *room) command(ses *session, s *component.Stanza) error {
	answer, ok := r.dialogs.Handle(r.commands(ses), s, r.now)
	later := r.later
	r.later = nil
	switch {
	case !ok:
		return errNotFound
	case answer != nil:
		r.send(answer)
	}
	r.tellAll(later)
	return nil
}

// tellLater has something told when a command is answered.
func (r *room) tellLater(tell func()) { r.later = append(r.later, tell) }

// done is the end of a command.
func done(note string) (*component.Reply, error) { return &component.Reply{Note: note}, nil }

// askFor asks for a form.
func askFor(formType, title, instructions string, fields ...component.Field) (*component.Reply, error) {
	return &component.Reply{Form: &component.Form{Type: "form", FormType: formType, Title: title, Instructions: instructions, Fields: fields}}, nil
}

// table is a list as the result of a command.
func table(formType, title string, columns []component.Field, rows [][]string) (*component.Reply, error) {
	f := &component.Form{Type: "result", FormType: formType, Title: title, Reported: columns, Items: rows}
	r := &component.Reply{Form: f}
	if len(rows) == 0 {
		r.Note = "There are none."
	}
	return r, nil
}

// userOf is the bare JID of a user in a form.
func userOf(f *component.Form, field string) (jid.JID, error) {
	j, err := component.ParseJID(strings.TrimSpace(f.Value(field)))
	if err != nil || j.Localpart() == "" {
		return jid.JID{}, component.BadPayload("That is not the address of a user.")
	}
	return j.Bare(), nil
}
