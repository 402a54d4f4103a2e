package muc

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Options say what a Service is.
type Options struct {
	Domain      string
	Name        string // that clients show; default "Rooms"
	DefaultKind string // of new rooms; default "encrypted"
	Limits      Limits
	Admins      []jid.JID               // bare; owners of all rooms
	MayCreate   func(bare jid.JID) bool // who may make rooms; nil: everybody
	RoomNames   *regexp.Regexp          // matches the names that new rooms may have, but for those of Admins; nil: all
	// MayReach tells if somebody may have a room write to somebody who is not in it; nil:
	// everybody to everybody. Addresses are bare.
	MayReach func(by, whom jid.JID) bool
	// OnionOf is what an address is called on the onion side, if it has one. nil: there
	// is no onion side.
	OnionOf func(jid.JID) (jid.JID, bool)
}

// mayBeCalled tells if new rooms may have a name.
func (o *Options) mayBeCalled(name string) bool {
	return o.RoomNames == nil || o.RoomNames.MatchString(name)
}

// A Sender is the way out of a Service; a component.Router is one.
type Sender interface {
	component.Sender
	component.CopySender
}

// A Service has all rooms of a domain. It is a component.Handler.
type Service struct {
	settings
	o       Options
	addr    jid.JID
	out     Sender
	store   *Store
	front   *component.Service
	crew    *crew
	preset  *Config // of new rooms
	readers readers

	mu     sync.Mutex
	actors map[string]*actor
	index  map[string]listing // all rooms, for lists and counts
	made   map[string]int     // how many of them there are by creator
	public names              // of those that are listed for everybody
	makers buckets            // of who makes rooms
	closed bool
	// When it is time to look for temporary rooms that nobody came back to; zero: there are none.
	sweepAt time.Time
}

// A listing is what the service itself knows of a room, in memory or not.
type listing struct {
	Config  *Config
	Creator string
	Locked  bool
}

// NewService makes a service that keeps its rooms in st, and sends by out.
func NewService(o Options, st *Store, out Sender) (*Service, error) {
	addr, err := jid.New("", o.Domain, "")
	if err != nil {
		return nil, fmt.Errorf("muc: domain %q: %w", o.Domain, err)
	}
	if o.Name == "" {
		o.Name = "Rooms"
	}
	if o.DefaultKind == "" {
		o.DefaultKind = "encrypted"
	}
	if !slices.Contains(KindNames(), o.DefaultKind) {
		return nil, fmt.Errorf("muc: %q is not a kind of room: %s", o.DefaultKind, strings.Join(KindNames(), ", "))
	}
	key, err := st.secret("occupant id")
	if err != nil {
		return nil, fmt.Errorf("muc: %w", storeSchema.Explain(err))
	}
	sv := &Service{o: o, addr: addr, out: out, store: st, actors: map[string]*actor{}, index: map[string]listing{}, made: map[string]int{},
		crew: newCrew(), preset: new(KindConfig(o.DefaultKind))}
	admins := map[string]bool{}
	for _, a := range o.Admins {
		admins[a.Bare().String()] = true
	}
	sv.settings = settings{limits: o.Limits.orDefault(), key: key, onionOf: o.OnionOf, mayReach: o.MayReach, dialogs: &component.Dialogs{}, motd: &motd{},
		admin:   func(bare jid.JID) bool { return len(admins) > 0 && admins[bare.String()] },
		creator: func(bare jid.JID) bool { return o.MayCreate == nil || o.MayCreate(bare) || admins[bare.String()] }}
	if err := errors.Join(st.rooms(sv.list), st.loadMOTD(sv.motd)); err != nil {
		return nil, fmt.Errorf("muc: %w", storeSchema.Explain(err))
	}
	sv.front = component.NewService(out, component.Identity{Category: "conference", Type: "text", Name: o.Name})
	sv.face()
	sv.sweepAt = time.Now().Add(returnWithin)
	return sv, nil
}

// HandleStanza handles what is for the service or a room of it.
func (sv *Service) HandleStanza(ctx context.Context, s *component.Stanza) error {
	if s.To.Localpart() == "" {
		return sv.front.HandleStanza(ctx, s)
	}
	for {
		a, err := sv.find(s)
		switch {
		case err != nil:
			sv.answer(s, err)
			return nil
		case a == nil:
			return sv.nothing(ctx, s)
		}
		switch err := a.post(event{s: s}); {
		case err == nil:
			return nil
		case errors.Is(err, errFlood):
			return sv.overloaded(ctx, a, s)
		} // it has ended
	}
}

// find gives the room that a stanza is for. It makes one if the stanza asks for that;
// it is nil if there is none.
func (sv *Service) find(s *component.Stanza) (*actor, error) {
	name := s.To.Localpart()
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.closed {
		return nil, errUnsupported
	}
	if a := sv.actors[name]; a != nil {
		return a, nil
	}
	if _, ok := sv.index[name]; ok {
		a := &actor{sv: sv, addr: s.To.Bare()}
		sv.actors[name] = a
		return a, nil
	}
	return sv.make(s)
}

// make makes a room for who enters one that is not there (XEP-0045 §10.1). It is called
// with mu held.
func (sv *Service) make(s *component.Stanza) (*actor, error) {
	if !joins(s) {
		return nil, nil
	}
	bare := s.From.Bare()
	creator := bare.String()
	switch {
	case !sv.mayMakeRooms(bare):
		return nil, errNoEntry
	case utf8.RuneCountInString(s.To.Localpart()) > sv.limits.Name:
		return nil, fail(stanza.Modify, stanza.PolicyViolation, "The name of the room is too long.")
	case !sv.admin(bare) && !sv.o.mayBeCalled(s.To.Localpart()):
		return nil, fail(stanza.Modify, stanza.PolicyViolation, "New rooms cannot have such a name here.")
	}
	if limit := sv.limits.RoomsPerUser; limit > 0 && !sv.admin(bare) {
		if sv.made[creator] >= limit {
			return nil, fail(stanza.Wait, stanza.ResourceConstraint, "You have made as many rooms as you may.")
		}
	}
	if limit := sv.limits.Rooms; limit > 0 && len(sv.index) >= limit {
		return nil, fail(stanza.Wait, stanza.ResourceConstraint, "There are as many rooms as there can be.")
	}
	if !sv.admin(bare) && !sv.makers.allow(creator, sv.limits.RoomRate, time.Now()) {
		return nil, errRate
	}
	r := newRoom(&sv.settings, s.To.Bare(), sv.preset)
	r.creator, r.locked, r.salt = creator, true, rand.Int64()
	a := &actor{sv: sv, addr: r.addr, room: r}
	name := s.To.Localpart()
	sv.actors[name] = a
	sv.list(saveRoom{Name: name, Config: r.cfg, Creator: r.creator, Locked: true})
	return a, a.post(event{do: func(r *room) {
		r.change(claimName{name})
		r.save()
		r.affiliate(r.creator, affiliate{level: Owner})
	}})
}

// loadRoom reads a room from the store.
func (sv *Service) loadRoom(addr jid.JID) (*room, error) {
	s, err := sv.store.load(addr.Localpart())
	if err != nil {
		return nil, err
	}
	sv.note([]change{s.saveRoom})
	r := newRoom(&sv.settings, addr, s.Config)
	r.creator, r.locked, r.salt, r.subject, r.affiliates = s.Creator, s.Locked, s.Salt, s.Subject, s.affiliates
	for _, a := range r.affiliates {
		r.reserve(a.jid, a.nick)
	}
	last, err := sv.store.last(addr.Localpart())
	r.avatar, r.lastID = s.avatar, max(s.lastID, last) // so that ids never go back
	return r, errors.Join(err, sv.store.loadHats(r), sv.store.loadInvitations(r), sv.store.loadGuests(r))
}

// note keeps the index as the rooms are.
func (sv *Service) note(changes []change) {
	for _, c := range changes {
		switch c := c.(type) {
		case saveRoom:
			sv.mu.Lock()
			sv.list(c)
			sv.mu.Unlock()
		case dropRoom:
			sv.mu.Lock()
			sv.unlist(c.Name)
			sv.mu.Unlock()
		}
	}
}

// list puts a room into the index, as it is now. It is called with mu held, as unlist is.
func (sv *Service) list(r saveRoom) {
	sv.unlist(r.Name)
	sv.index[r.Name] = listing{Config: r.Config, Creator: r.Creator, Locked: r.Locked}
	sv.made[r.Creator]++
	if r.Config.Public && !r.Locked {
		sv.public.put(r.Name)
	}
}

// unlist takes a room out of the index.
func (sv *Service) unlist(name string) {
	r, ok := sv.index[name]
	if !ok {
		return
	}
	delete(sv.index, name)
	sv.public.take(name)
	if sv.made[r.Creator]--; sv.made[r.Creator] == 0 {
		delete(sv.made, r.Creator)
	}
}

// relist puts a room into the index as it is stored, or takes it out if it is not.
func (sv *Service) relist(name string) {
	s, err := sv.store.load(name)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		slog.Error("a room cannot be read", "error", err)
		return
	}
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if err != nil {
		sv.unlist(name)
		return
	}
	sv.list(s.saveRoom)
	sv.sweepAt = time.Now().Add(returnWithin)
}

// remove takes an actor off the list.
func (sv *Service) remove(a *actor) {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if name := a.addr.Localpart(); sv.actors[name] == a {
		delete(sv.actors, name)
	}
}

// answer answers s with an error.
func (sv *Service) answer(s *component.Stanza, err error) {
	if e := refusal(s, err); e != nil {
		if err := sv.out.Send(context.Background(), e); err != nil {
			slog.Debug("an error could not be returned", "error", err)
		}
	}
}

// refused takes a copy that could not be sent: its recipient cannot be reached, as if its
// server had said so. While the host is away that is not concluded; when it is back,
// occupants are asked (see Recheck), and who is there has missed something. Who asked for what is too long to be sent is told that, and
// so is who asked an occupant what cannot be sent on.
func (sv *Service) refused(c component.Copy, err error) {
	var se stanza.Error
	known := errors.As(err, &se)
	s, perr := c.Draft.Head(c.To.JID)
	if perr != nil {
		return
	}
	relayed := s.IsRequest() && s.From.Resourcepart() != ""
	switch {
	case relayed: // who asked waits for an answer
		sv.returned(s.Error(err))
		return
	case se.Condition == stanza.RemoteServerTimeout:
		if a := sv.awake(s.From.Localpart()); a != nil && s.Kind != component.IQ && errors.Is(err, component.ErrHostAway) {
			a.post(event{do: func(r *room) { r.missed(s.To) }})
		}
		return
	case s.Kind == component.IQ && s.Type == string(stanza.ResultIQ):
		sv.answer(&component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: s.ID, From: s.To, To: s.From}, errAnswer)
		return
	}
	if !known || se.Condition == stanza.PolicyViolation {
		return
	}
	if e := s.Error(err); e != nil && e.Kind != component.IQ {
		sv.returned(e)
	}
}

// returned gives an error to the room that it is for.
func (sv *Service) returned(e *component.Stanza) {
	if a := sv.awake(e.To.Localpart()); a != nil {
		a.post(event{s: e})
	}
}

var errAnswer = fail(stanza.Cancel, stanza.ResourceConstraint, "The answer is too long to be sent.")

// awake is the actor of a room that is in memory.
func (sv *Service) awake(name string) *actor {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	return sv.actors[name]
}

// all are the rooms in memory.
func (sv *Service) all() []*actor {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	as := make([]*actor, 0, len(sv.actors))
	for _, a := range sv.actors {
		as = append(as, a)
	}
	return as
}

// kept are the configurations of all rooms, by name.
func (sv *Service) kept() map[string]*Config {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	all := make(map[string]*Config, len(sv.index))
	for name, r := range sv.index {
		all[name] = r.Config
	}
	return all
}

// Counts are the numbers of rooms, of those in memory, and of occupants.
func (sv *Service) Counts() map[string]uint64 {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	n := map[string]uint64{"rooms": uint64(len(sv.index)), "awake": uint64(len(sv.actors)), "occupants": 0}
	for _, a := range sv.actors {
		n["occupants"] += uint64(a.occupants.Load())
	}
	return n
}
