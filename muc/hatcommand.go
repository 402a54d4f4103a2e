package muc

import (
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// nsHatCommands is the FORM_TYPE of the commands of XEP-0317 §3, and how their nodes
// begin.
const nsHatCommands = "urn:xmpp:hats:commands"

// Their fields.
const (
	fieldHatJID   = "hats#jid"
	fieldHatTitle = "hats#title"
	fieldHatURI   = "hats#uri"
	fieldHatHue   = "hats#hue"
)

// maxHatText bounds a hat's URI and title, in octets.
const maxHatText = 1024

const noHats = "There are no hats."

var errTooManyHats = fail(stanza.Wait, stanza.ResourceConstraint, "There are too many hats.")

// createHat makes a hat, or changes one (XEP-0317 §3.2).
func (r *room) createHat(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return askFor(nsHatCommands, "Create or change a hat", "A hat is a title that you give to people in this room.",
			component.Field{Var: fieldHatTitle, Type: "text-single", Label: "Title", Required: true},
			component.Field{Var: fieldHatURI, Type: "text-single", Label: "URI (a new one, or that of a hat to change it)", Required: true, Values: []string{uuid.New().URN()}},
			component.Field{Var: fieldHatHue, Type: "text-single", Label: "Colour, as an angle from 0 to 360"})
	}
	h := hat{uri: f.Value(fieldHatURI), title: f.Value(fieldHatTitle), hue: f.Value(fieldHatHue)}
	u, err := url.Parse(h.uri)
	hue, hueErr := strconv.ParseFloat(h.hue, 64)
	switch {
	case err != nil || !u.IsAbs() || len(h.uri) > maxHatText:
		return nil, component.BadPayload("A hat needs a URI, such as urn:example:teacher.")
	case h.title == "" || len(h.title) > maxHatText:
		return nil, component.BadPayload("A hat needs a title.")
	case h.hue != "" && (hueErr != nil || !(hue >= 0 && hue <= 360)):
		return nil, component.BadPayload("The colour is an angle from 0 to 360.")
	}
	if _, ok := r.hats[h.uri]; !ok && len(r.hats) >= maxHats {
		return nil, errTooManyHats
	}
	r.putHat(h)
	r.change(saveHat{Room: r.addr.Localpart(), URI: h.uri, Title: h.title, Hue: h.hue})
	r.tellLater(func() { r.tellCodes([]int{104}) })
	r.showHatsLater(r.wearersOf(h.uri)...)
	return done("")
}

// hatField asks for one of the hats that there are.
func (r *room) hatField() component.Field {
	field := component.Field{Var: fieldHatURI, Type: "list-single", Label: "Hat", Required: true}
	for _, uri := range slices.Sorted(maps.Keys(r.hats)) {
		field.Options = append(field.Options, component.Option{Label: r.hats[uri].title, Value: uri})
	}
	return field
}

// hatOf is the hat of a form. Before version 0.3 the field had another name, which some
// still use.
func (r *room) hatOf(f *component.Form) (hat, error) {
	uri := f.Value(fieldHatURI)
	if uri == "" {
		uri = f.Value("hat")
	}
	if uri == "" {
		return hat{}, component.BadPayload("Which hat?")
	}
	h, ok := r.hats[uri]
	if !ok {
		return h, errNotFound
	}
	return h, nil
}

// destroyHat destroys a hat, and takes it from all who wear it (XEP-0317 §3.3).
func (r *room) destroyHat(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil && len(r.hats) == 0 {
		return done(noHats)
	} else if f == nil {
		return askFor(nsHatCommands, "Destroy a hat", "It is taken from all who wear it.", r.hatField())
	}
	h, err := r.hatOf(f)
	if err != nil {
		return nil, err
	}
	worn := r.wearersOf(h.uri)
	for _, bare := range worn {
		r.takeOff(bare, h.uri)
	}
	delete(r.hats, h.uri)
	r.change(dropHat{Room: r.addr.Localpart(), URI: h.uri})
	r.showHatsLater(worn...)
	r.tellLater(func() { r.tellCodes([]int{104}) })
	return done("")
}

// listHats lists the hats that there are (XEP-0317 §3.4).
func (r *room) listHats(*component.Call) (*component.Reply, error) {
	var rows [][]string
	for _, uri := range slices.Sorted(maps.Keys(r.hats)) {
		rows = append(rows, []string{r.hats[uri].title, uri, r.hats[uri].hue})
	}
	return table(nsHatCommands, "Hats", []component.Field{{Var: fieldHatTitle, Label: "Title"},
		{Var: fieldHatURI, Label: "URI"}, {Var: fieldHatHue, Label: "Colour"}}, rows)
}

func (r *room) askForWearer(title string) (*component.Reply, error) {
	if len(r.hats) == 0 {
		return done(noHats)
	}
	return askFor(nsHatCommands, title, "",
		component.Field{Var: fieldHatJID, Type: "jid-single", Label: "User", Required: true}, r.hatField())
}

// wearerIn is the user, as a bare JID, and the hat that a form names.
func (r *room) wearerIn(f *component.Form) (bare string, h hat, err error) {
	user, err := userOf(f, fieldHatJID)
	if err != nil {
		return "", hat{}, err
	}
	h, err = r.hatOf(f)
	return user.String(), h, err
}

// assignHat gives somebody a hat (XEP-0317 §3.5).
func (r *room) assignHat(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return r.askForWearer("Give somebody a hat")
	}
	bare, h, err := r.wearerIn(f)
	if err != nil {
		return nil, err
	}
	if n := len(r.wearers[bare]); n >= maxWorn || n == 0 && len(r.wearers) >= maxWearers {
		return nil, errTooManyHats
	}
	if r.wear(bare, h.uri) {
		r.change(saveWearer{Room: r.addr.Localpart(), JID: bare, URI: h.uri, Worn: true})
		r.showHatsLater(bare)
	}
	return done("")
}

// unassignHat takes a hat from somebody (XEP-0317 §3.6).
func (r *room) unassignHat(c *component.Call) (*component.Reply, error) {
	f := c.Form()
	if f == nil {
		return r.askForWearer("Take a hat from somebody")
	}
	bare, h, err := r.wearerIn(f)
	if err != nil {
		return nil, err
	}
	if !r.takeOff(bare, h.uri) {
		return nil, errNotFound
	}
	r.change(saveWearer{Room: r.addr.Localpart(), JID: bare, URI: h.uri})
	r.showHatsLater(bare)
	return done("")
}

// listWearers lists who wears which hat (XEP-0317 §3.7).
func (r *room) listWearers(*component.Call) (*component.Reply, error) {
	var rows [][]string
	for _, bare := range slices.Sorted(maps.Keys(r.wearers)) {
		for _, uri := range r.wearers[bare] {
			rows = append(rows, []string{bare, uri, r.hats[uri].title, r.hats[uri].hue})
		}
	}
	return table(nsHatCommands, "Who has which hat", []component.Field{{Var: fieldHatJID, Type: "jid-single", Label: "User"},
		{Var: fieldHatURI, Label: "URI"}, {Var: fieldHatTitle, Label: "Title"}, {Var: fieldHatHue, Label: "Colour"}}, rows)
}
