package muc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// nsServiceAdmin is the FORM_TYPE of XEP-0133, and how its nodes begin.
const nsServiceAdmin = "http://jabber.org/protocol/admin"

// commands are what admins of the service have done by ad-hoc commands (XEP-0050,
// XEP-0133).
func (sv *Service) commands() []component.Command {
	may := func(from jid.JID) bool { return sv.admin(from.Bare()) }
	return []component.Command{
		{Node: NSAllium + "#rooms", Name: "List the rooms", May: may, Do: sv.showRooms},
		{Node: NSAllium + "#destroy-room", Name: "Destroy a room", May: may, Do: sv.destroyRoom},
		{Node: NSAllium + "#make-owner", Name: "Make somebody the owner of a room", May: may, Do: sv.makeOwner},
		{Node: nsServiceAdmin + "#announce", Name: "Announce something in all rooms", May: may, Do: sv.announce},
		{Node: nsServiceAdmin + "#set-motd", Name: "Set the message of the day", May: may, Do: sv.setMOTD("Set the message of the day")},
		{Node: nsServiceAdmin + "#edit-motd", Name: "Edit the message of the day", May: may, Do: sv.setMOTD("Edit the message of the day")},
		{Node: nsServiceAdmin + "#delete-motd", Name: "Delete the message of the day", May: may, Do: sv.deleteMOTD},
	}
}

// showRooms lists the rooms, those with the most occupants first.
func (sv *Service) showRooms(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return askFor(NSAllium, "List the rooms", "",
			component.Field{Var: "search", Type: "text-single", Label: "Part of the name or address (empty: all rooms)"})
	}
	type line struct {
		name      string
		room      listing
		occupants int
	}
	search := strings.ToLower(f.Value("search"))
	var lines []line
	sv.mu.Lock()
	for name, r := range sv.index {
		if !strings.Contains(name, search) && !strings.Contains(strings.ToLower(r.Config.Name), search) {
			continue
		}
		l := line{name: name, room: r}
		if a := sv.actors[name]; a != nil {
			l.occupants = int(a.occupants.Load())
		}
		lines = append(lines, l)
	}
	sv.mu.Unlock()
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(b.occupants, a.occupants), cmp.Compare(a.name, b.name))
	})
	note := "Rooms: " + strconv.Itoa(len(lines))
	if len(lines) > maxListed {
		note += ", of which the first " + strconv.Itoa(maxListed) + " are listed."
		lines = lines[:maxListed]
	}
	var rows [][]string
	for _, l := range lines {
		rows = append(rows, []string{l.name + "@" + sv.o.Domain, l.room.Config.Name, strconv.Itoa(l.occupants), l.room.Config.Kind(), l.room.Creator})
	}
	r, err := table(NSAllium, "Rooms", []component.Field{{Var: "room", Type: "jid-single", Label: "Room"}, {Var: "name", Label: "Name"},
		{Var: "occupants", Label: "Occupants"}, {Var: "kind", Label: "Kind"}, {Var: "creator", Type: "jid-single", Label: "Made by"}}, rows)
	r.Note = note
	return r, err
}

// roomField asks for a room, by name or address.
var roomField = component.Field{Var: "room", Type: "text-single", Label: "Name or address of the room", Required: true}

// inRoom has something done in the room that a form names. The answer is sent when what
// was done is stored.
func (sv *Service) inRoom(c *component.Call, do func(r *room)) (*component.Reply, error) {
	v := strings.TrimSpace(c.Form().Value("room"))
	if !strings.Contains(v, "@") {
		v += "@" + sv.o.Domain
	}
	addr, err := component.ParseJID(v)
	if err != nil || addr.Localpart() == "" {
		return nil, component.BadPayload("That is not the address of a room.")
	}
	if addr.Domainpart() != sv.addr.Domainpart() {
		return nil, errNotFound
	}
	for {
		a, err := sv.find(&component.Stanza{Kind: component.IQ, Type: string(stanza.SetIQ), To: addr.Bare()})
		if err != nil {
			return nil, err
		}
		if a == nil {
			return nil, errNotFound
		}
		err = a.post(event{s: c.Request, do: func(r *room) {
			do(r)
			r.send(c.Answer(&component.Reply{Note: "Done."}))
		}})
		if !errors.Is(err, errEnded) {
			return nil, err
		}
	}
}

// destroyRoom destroys a room, whoever owns it.
func (sv *Service) destroyRoom(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return askFor(NSAllium, "Destroy a room", "The room is destroyed with all that was said in it.", roomField,
			component.Field{Var: "reason", Type: "text-single", Label: "Reason, for who is in it"},
			component.Field{Var: "alternate", Type: "jid-single", Label: "Room to go to instead"})
	}
	how := component.NewElement(NSUser, "destroy")
	if v := strings.TrimSpace(f.Value("alternate")); v != "" {
		j, err := component.ParseJID(v)
		if err != nil {
			return nil, component.BadPayload("The room to go to has no such address.")
		}
		how.SetAttr("jid", j.Bare().String())
	}
	if reason := f.Value("reason"); reason != "" {
		how.Add(component.NewElement(NSUser, "reason", component.Text(reason)))
	}
	return sv.inRoom(c, func(r *room) { r.destroy(how) })
}

// makeOwner makes somebody an owner of a room, such as one whose owners are all gone.
func (sv *Service) makeOwner(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return askFor(NSAllium, "Make somebody the owner of a room", "", roomField,
			component.Field{Var: "jid", Type: "jid-single", Label: "User", Required: true})
	}
	user, err := userOf(f, "jid")
	if err != nil {
		return nil, err
	}
	return sv.inRoom(c, func(r *room) { r.setAffiliation(action{jid: user, level: Owner}, "").now() })
}

// textOf is a text of several lines in a form.
func textOf(f *component.Form, field string) (string, error) {
	v, _ := f.Values(field)
	text := strings.TrimSpace(strings.Join(v, "\n"))
	if text == "" || len(text) > maxText {
		return "", component.BadPayload("The text is missing, or too long.")
	}
	return text, nil
}

// announce says something in all rooms that somebody is in (XEP-0133 §4.23). It is in no
// history.
func (sv *Service) announce(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return askFor(nsServiceAdmin, "Announce something in all rooms", "",
			component.Field{Var: "announcement", Type: "text-multi", Label: "Announcement", Required: true})
	}
	text, err := textOf(f, "announcement")
	if err != nil {
		return nil, err
	}
	rooms := 0
	for _, a := range sv.all() {
		if a.occupants.Load() > 0 && a.post(event{do: func(r *room) { r.say(text) }}) == nil {
			rooms++
		}
	}
	return done("Rooms that were told: " + strconv.Itoa(rooms))
}

// say sends a message of the room itself to all occupants.
func (r *room) say(text string) {
	m := &component.Stanza{Kind: component.Message, From: r.addr, Type: string(stanza.GroupChatMessage)}
	m.Add(component.NewElement(component.NSClient, "body", component.Text(text)))
	r.toAll(component.NewDraft(m, nil, nil, nil))
}

// setMOTD sets the message of the day, or another one instead of it, which is no matter to
// who gets it (XEP-0133 §4.24, §4.25).
func (sv *Service) setMOTD(title string) func(*component.Call) (*component.Reply, error) {
	return func(c *component.Call) (*component.Reply, error) {
		f := c.Form()
		if f == nil {
			field := component.Field{Var: "motd", Type: "text-multi", Label: "Message of the day", Required: true}
			if text := sv.motd.text(); text != "" {
				field.Values = strings.Split(text, "\n")
			}
			return askFor(nsServiceAdmin, title, "Everybody who is in a room, or enters one, gets it once.", field)
		}
		text, err := textOf(f, "motd")
		if err != nil {
			return nil, err
		}
		sv.changeMOTD(c, text)
		return nil, nil
	}
}

// deleteMOTD deletes the message of the day (XEP-0133 §4.26).
func (sv *Service) deleteMOTD(c *component.Call) (*component.Reply, error) {
	if sv.motd.text() == "" {
		return done("There is none.")
	}
	sv.changeMOTD(c, "")
	return nil, nil
}

// changeMOTD changes the message of the day, and answers and tells of it when it is stored.
func (sv *Service) changeMOTD(c *component.Call, text string) {
	d := sv.motd.next(text, time.Now())
	sv.store.submit([]change{saveMOTD{d}}, func(err error) {
		if err != nil {
			sv.answer(c.Request, fail(stanza.Wait, stanza.ResourceConstraint, "Nothing can be stored at the moment."))
			return
		}
		sv.motd.change(d)
		if err := sv.out.Send(context.Background(), c.Answer(&component.Reply{Note: "Done."})); err != nil {
			sv.answer(c.Request, err)
		}
		for _, a := range sv.all() {
			if a.occupants.Load() > 0 {
				a.post(event{do: (*room).tellMessageOfTheDay})
			}
		}
	})
}

// tellMessageOfTheDay tells those who are in the room.
func (r *room) tellMessageOfTheDay() {
	for _, o := range r.list {
		r.sendMessageOfTheDay(o.shown)
	}
}
