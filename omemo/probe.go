package omemo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// Limits of a probe.
const (
	maxProbed        = 20 // users
	maxProbedDevices = 5  // of each, in each format
)

// A Probe is what a host says to a stranger at a peer who asks for the keys of its users.
type Probe struct {
	Gave     []jid.JID // all that there is
	Refused  []jid.JID // something that there is
	Unclear  []jid.JID // refused, or there is nothing: a host need not say which
	Nothing  []jid.JID // there is nothing
	out      component.Sender
	as       jid.JID
	answered chan *component.Stanza
}

// NewProbe asks the host that router leads to for the keys of users, and of those whose
// lists the file of a directory has. What it learns it does not keep. When it is ready for
// what the host says of the rights of o.Address it calls attach, which waits until router has
// a link for that domain. It ends with ctx.
func NewProbe(ctx context.Context, file string, o Options, router *component.Router, attach func() error, users ...jid.JID) (*Probe, error) {
	known, err := knownLists(file, o.Local, maxProbed)
	if err != nil {
		return nil, fmt.Errorf("omemo: %s: %w", file, err)
	}
	dir, err := os.MkdirTemp("", "allium-probe")
	if err != nil {
		return nil, fmt.Errorf("omemo: %w", err)
	}
	defer os.RemoveAll(dir)
	o.Log = slog.New(slog.DiscardHandler)
	d, err := OpenDirectory(filepath.Join(dir, "keys.sqlite"), o)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	p := &Probe{out: d.Sender(router), answered: make(chan *component.Stanza, 1)}
	if p.as, err = component.NewJID("check", o.Address.Domainpart(), rand.Text()); err != nil {
		return nil, fmt.Errorf("omemo: %w", err)
	}
	router.Handle(o.Address.Domainpart(), d.Handler(component.HandlerFunc(func(_ context.Context, s *component.Stanza) error {
		select {
		case p.answered <- s:
		case <-ctx.Done():
		}
		return nil
	})))
	if err := attach(); err != nil {
		return nil, err
	}
	for _, u := range users {
		if !slices.ContainsFunc(known, u.Equal) && o.Local(u) {
			if err := p.user(ctx, u, false); err != nil {
				return nil, err
			}
		}
	}
	for _, u := range known {
		if err := p.user(ctx, u, true); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// user asks for all keys of a user.
func (p *Probe) user(ctx context.Context, u jid.JID, known bool) error {
	gave, refused, unclear := false, false, false
	for _, f := range []*Format{Legacy, OMEMO2} {
		list, denied, err := p.ask(ctx, u, node{format: f}, f.nodeFor(0))
		if err != nil {
			return err
		}
		unclear = unclear || denied
		if len(list) == 0 || list[0].list == nil {
			continue
		}
		gave = true
		devices := list[0].list.Devices
		for _, d := range devices[:min(len(devices), maxProbedDevices)] {
			n := node{format: f, bundles: true}
			var ids []string
			if f == Legacy {
				n.device = d.ID
			} else {
				ids = []string{formatID(d.ID)}
			}
			_, denied, err := p.ask(ctx, u, n, f.nodeFor(d.ID), ids...)
			if err != nil {
				return err
			}
			refused = refused || denied
		}
	}
	switch {
	case refused, unclear && known && !gave:
		p.Refused = append(p.Refused, u)
	case gave:
		p.Gave = append(p.Gave, u)
	case unclear:
		p.Unclear = append(p.Unclear, u)
	default:
		p.Nothing = append(p.Nothing, u)
	}
	return nil
}

// ask asks for one node.
func (p *Probe) ask(ctx context.Context, u jid.JID, n node, name string, ids ...string) (found []find, denied bool, err error) {
	q := &question{node: n, name: name, ids: ids, owner: u}
	s := &component.Stanza{Kind: component.IQ, Type: string(stanza.GetIQ), ID: newID(), To: u, From: p.as}
	if err := p.out.Send(ctx, s.Add(q.request())); err != nil {
		return nil, false, err
	}
	select {
	case a := <-p.answered:
		if a.Type == "error" {
			return nil, refuses(a.StanzaError().Condition), nil
		}
		found, _ = q.answered(a.Payload())
		return found, false, nil
	case <-ctx.Done():
		return nil, false, errors.New("omemo: the host does not answer")
	}
}
