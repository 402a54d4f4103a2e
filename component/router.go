package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"mellium.im/xmpp/stanza"
)

// A Handler takes the stanzas that are addressed to a domain.
//
// HandleStanza owns s, unless it returns an error: then the caller answers s with
// s.Error(err). It is called by several goroutines at once, and must return soon.
type Handler interface {
	HandleStanza(ctx context.Context, s *Stanza) error
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(ctx context.Context, s *Stanza) error

// HandleStanza calls f.
func (f HandlerFunc) HandleStanza(ctx context.Context, s *Stanza) error { return f(ctx, s) }

// A Sender sends stanzas on. Send owns s, unless it returns an error. It is safe for
// concurrent use and keeps the order in which one goroutine calls it.
type Sender interface {
	Send(ctx context.Context, s *Stanza) error
}

// A Router knows where a stanza goes: to the Handler of its destination domain, or
// to the host. It is safe for concurrent use.
type Router struct {
	mu       sync.RWMutex
	handlers map[string]Handler
	links    map[string]Sender
	find     func(domain string) Handler
	other    Sender
}

// NewRouter makes an empty Router.
func NewRouter() *Router {
	return &Router{handlers: map[string]Handler{}, links: map[string]Sender{}}
}

// Handle makes h the handler of everything that is addressed to the domain.
func (r *Router) Handle(domain string, h Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handlers[domain] = h
}

// Attach makes link the way to the host for stanzas from the domain.
func (r *Router) Attach(domain string, link Sender) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[domain] = link
}

// HandleStanza takes a stanza that came from the host. One that is for no domain
// here is refused with item-not-found; it is not sent back.
func (r *Router) HandleStanza(ctx context.Context, s *Stanza) error {
	if h := r.handler(s); h != nil {
		return deliver(ctx, h, s)
	}
	return NewError(stanza.Cancel, stanza.ItemNotFound, "")
}

// Send takes a stanza that a service made or that a peer sent, to the Handler of its
// destination, or to the host by the link of its sender's domain. It fails as the
// handler or the link does, and with internal-server-error when there is no link for
// the sender.
func (r *Router) Send(ctx context.Context, s *Stanza) error {
	if h := r.handler(s); h != nil {
		return deliver(ctx, h, s)
	}
	r.mu.RLock()
	link := r.links[s.From.Domainpart()]
	if link == nil {
		link = r.other
	}
	r.mu.RUnlock()
	if link == nil {
		return fmt.Errorf("component: no link for domain %q", s.From.Domainpart())
	}
	return link.Send(ctx, s)
}

// Otherwise makes find choose the Handler of a domain that has none of its own; it
// gives nil for one that nobody here has. It must not call the Router.
func (r *Router) Otherwise(find func(domain string) Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.find = find
}

// AttachOthers makes link the way to the host for stanzas from domains that have no link
// of their own. The host must take them from it.
func (r *Router) AttachOthers(link Sender) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.other = link
}

func (r *Router) handler(s *Stanza) Handler {
	domain := s.To.Domainpart()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if h := r.handlers[domain]; h != nil || r.find == nil {
		return h
	}
	return r.find(domain)
}

// deliver calls h, so that a stanza that hits a mistake in a handler costs its
// sender an error, and not everybody the service. What h has taken, is taken: where h
// sends the stanza on, that is another journey.
func deliver(ctx context.Context, h Handler, s *Stanza) (err error) {
	taken := s.Taken
	s.Taken = nil
	defer func() {
		if p := recover(); p != nil {
			slog.Error("component: a handler failed, please report this", "panic", p, "stack", string(debug.Stack()))
			err = errors.New("component: handler panicked")
		}
		if err != nil {
			s.Taken = taken
		} else if taken != nil {
			taken()
		}
	}()
	return h.HandleStanza(ctx, s)
}
