package component

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"mellium.im/xmpp/stanza"
)

// attachTimeout is how long Want waits.
var attachTimeout = 3 * time.Second

// The times and the size of a Pool.
const (
	poolSize   = 250                 // domains; each costs a connection to the host
	poolTick   = time.Minute         // how often is looked for what is idle
	idleOthers = time.Hour           // a domain that nobody at the host has written to
	idleWanted = 30 * 24 * time.Hour // one that somebody has
)

// A Pool makes a Link for each domain that a stanza is from, on a host that lets any
// domain be attached (ejabberd_service with a password and no hosts). So the host knows
// where answers go. Domains that somebody at the host has written to are remembered and
// attached again by the next Run, since without a link nobody there can write to them.
// It is a Sender, and safe for concurrent use.
type Pool struct {
	c     LinkConfig
	h     Handler
	file  string
	dirty chan struct{} // has a token when the file is out of date

	mu    sync.Mutex
	ctx   context.Context // of Run; nil before
	wg    sync.WaitGroup
	links map[string]*pooled
}

type pooled struct {
	link   *Link
	stop   context.CancelFunc
	used   time.Time
	wanted bool // somebody at the host has written to it, or is about to
	heard  bool // a stanza came from it
	kept   bool // it is never detached
}

// NewPool makes a Pool whose links are as c says, but for the domain, and give what comes
// from the host to h. The file is where domains are remembered.
func NewPool(c LinkConfig, h Handler, file string) (*Pool, error) {
	p := &Pool{c: c, h: h, file: file, dirty: make(chan struct{}, 1), links: map[string]*pooled{}}
	return p, p.recall()
}

// Keep attaches a domain for good.
func (p *Pool) Keep(domain string) error {
	return p.with(domain, func(l *pooled) { l.kept = true })
}

// Want attaches a domain because somebody at the host will write to it. It waits a moment
// for the host to take it, so that who is told can write at once.
func (p *Pool) Want(domain string) error {
	var link *Link
	before := true
	if err := p.with(domain, func(l *pooled) { link, before, l.wanted = l.link, l.wanted, true }); err != nil {
		return err
	}
	if !before {
		select {
		case p.dirty <- struct{}{}:
		default:
		}
	}
	select {
	case <-link.Up():
	case <-p.ending():
	case <-time.After(attachTimeout):
	}
	return nil
}

// ending is closed when no link will come up any more.
func (p *Pool) ending() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil {
		return nil
	}
	return p.ctx.Done()
}

// Has tells if a domain is attached, or about to be.
func (p *Pool) Has(domain string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[domain] != nil
}

// Send sends the stanza to the host by the link of its sender's domain. The error is that
// of Link.Send, or resource-constraint when too many domains are attached.
func (p *Pool) Send(ctx context.Context, s *Stanza) error {
	var link *Link
	isProbe := s.Kind == Presence && s.Type == string(stanza.ProbePresence) // which can be ours
	if err := p.with(s.From.Domainpart(), func(l *pooled) { link, l.heard = l.link, l.heard || !isProbe }); err != nil {
		return err
	}
	return link.Send(ctx, s)
}

// Run keeps the links up until ctx is done, as Link.Run does.
func (p *Pool) Run(ctx context.Context) error {
	p.mu.Lock()
	p.ctx = ctx
	for _, l := range p.links {
		p.start(l)
	}
	p.mu.Unlock()
	tick := time.NewTicker(poolTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case now := <-tick.C:
			p.detachIdle(now)
		case <-p.dirty:
			p.remember()
		}
	}
	p.mu.Lock() // whoever starts a link after this sees that it is the end
	p.mu.Unlock()
	p.wg.Wait()
	p.remember()
	return nil
}

// with calls f with the link of a domain, which it makes if there is none.
func (p *Pool) with(domain string, f func(*pooled)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[domain]
	if l == nil {
		if len(p.links) >= poolSize && !p.evict() {
			return NewError(stanza.Wait, stanza.ResourceConstraint, "")
		}
		c := p.c
		c.Domain = domain
		link, err := NewLink(c, HandlerFunc(p.HandleStanza))
		if err != nil {
			return err
		}
		l = &pooled{link: link}
		p.links[domain] = l
		if p.ctx != nil && p.ctx.Err() == nil {
			p.start(l)
		}
	}
	l.used = time.Now()
	f(l)
	return nil
}

func (p *Pool) start(l *pooled) {
	ctx, stop := context.WithCancel(p.ctx)
	l.stop = stop
	p.wg.Go(func() { l.link.Run(ctx) })
}

// HandleStanza takes what came from the host by one of the links.
func (p *Pool) HandleStanza(ctx context.Context, s *Stanza) error {
	answer := s.Type == "error" || s.Kind == IQ && !s.IsRequest()
	if !answer && s.To.Domainpart() != "" {
		if err := p.Want(s.To.Domainpart()); err != nil {
			return err
		}
	}
	return p.h.HandleStanza(ctx, s)
}

// evict detaches the domain that was not used for longest, of those that have not been
// heard of and written to as well: neither strangers who have many names, nor a user who
// writes to many that are not there, push out those that talk with each other. What the host
// has not taken yet would be lost.
func (p *Pool) evict() bool {
	oldest := ""
	for domain, l := range p.links {
		if !(l.wanted && l.heard) && !l.kept && l.link.out.empty() && (oldest == "" || l.used.Before(p.links[oldest].used)) {
			oldest = domain
		}
	}
	if oldest == "" {
		return false
	}
	p.detach(oldest)
	return true
}

func (p *Pool) detach(domain string) {
	if l := p.links[domain]; l.stop != nil {
		l.stop()
	}
	delete(p.links, domain)
}

func (p *Pool) detachIdle(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for domain, l := range p.links {
		idle := idleOthers
		if l.wanted || !l.link.out.empty() {
			idle = idleWanted
		}
		if !l.kept && now.Sub(l.used) > idle {
			p.detach(domain)
		}
	}
}

// remember writes down the domains that are wanted, with the times when they were used.
// It is for Run alone.
func (p *Pool) remember() {
	var b bytes.Buffer
	p.mu.Lock()
	for _, domain := range slices.Sorted(maps.Keys(p.links)) {
		if l := p.links[domain]; l.wanted {
			fmt.Fprintf(&b, "%s %d\n", domain, l.used.Unix())
		}
	}
	p.mu.Unlock()
	err := os.WriteFile(p.file+".new", b.Bytes(), 0o600)
	if err == nil {
		err = os.Rename(p.file+".new", p.file)
	}
	if err != nil {
		slog.Warn("attached domains are not remembered", "error", err)
	}
}

// recall attaches what remember wrote down.
func (p *Pool) recall() error {
	text, err := os.ReadFile(p.file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("component: attached domains: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var seconds int64
		domain, rest, _ := strings.Cut(lines.Text(), " ")
		fmt.Sscan(rest, &seconds)
		if err := p.with(domain, func(l *pooled) { l.wanted, l.used = true, time.Unix(seconds, 0) }); err != nil {
			return fmt.Errorf("component: attached domains: %s: %w", p.file, err)
		}
	}
	return nil
}
