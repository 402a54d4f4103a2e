package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
	"github.com/allium-xmpp/allium/component/hosttest"
)

// A person is a user who logs in again whenever the host is back.
type person struct {
	n       *node
	account string
	take    func(*component.Stanza) // gets all that the person receives

	mu     sync.Mutex // held while sending
	client *hosttest.Client
	quiet  bool          // sends nothing
	pings  int           // sent to the host
	pong   chan struct{} // has a token when the host has answered the last one
}

func (p *person) live(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		c, err := hosttest.Login(ctx, p.n.host.ClientAddr(), p.account, p.n.pass)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		c.Send(&component.Stanza{Kind: component.Presence})
		p.mu.Lock()
		p.client = c
		p.mu.Unlock()
		for {
			s, err := c.Expect(ctx, "anything", func(*component.Stanza) bool { return true })
			if err != nil {
				break
			}
			p.received(s)
		}
		p.mu.Lock()
		p.client = nil
		p.mu.Unlock()
		stop()
		c.Close()
	}
}

func (p *person) received(s *component.Stanza) {
	p.mu.Lock()
	pong := s.ID == fmt.Sprint("ping-", p.pings)
	p.mu.Unlock()
	if pong {
		p.pong <- struct{}{}
		return
	}
	p.take(s)
}

func (p *person) send(s *component.Stanza) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client != nil && p.client.Send(s) == nil
}

// pause makes the person send nothing more, and waits until the host has handled all
// that was sent before.
func (p *person) pause(t testing.TB) {
	p.mu.Lock()
	p.quiet = true
	p.pings++
	ping := &component.Stanza{Kind: component.IQ, Type: "get", ID: fmt.Sprint("ping-", p.pings), To: jid.MustParse(p.n.domain)}
	err := p.client.Send(ping.Add(component.NewElement(component.NSPing, "ping")))
	p.mu.Unlock()
	require.NoError(t, err)
	select {
	case <-p.pong:
	case <-time.After(time.Minute):
		t.Fatalf("%s: the host does not answer its user", p.n.domain)
	}
}

// resume waits until the person is logged in, and lets them send again.
func (p *person) resume(t testing.TB) {
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.quiet = p.client == nil
		return !p.quiet
	}, time.Minute, 10*time.Millisecond, "%s cannot log in", p.account)
}

// loginAgain ends the person's session, and waits for the next one.
func (p *person) loginAgain(t testing.TB) {
	p.mu.Lock()
	last := p.client
	p.mu.Unlock()
	last.Close()
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.client != nil && p.client != last
	}, time.Minute, 10*time.Millisecond, "%s cannot log in", p.account)
}

// A flow is the numbered messages of one person to another.
type flow struct {
	id       string
	from, to *person
	addr     jid.JID // of the receiver, as the sender writes it
	seen     jid.JID // of the sender, as the receiver sees it

	mu       sync.Mutex
	sent     []time.Time // when each number was
	returned map[int]bool
	got      []arrival // in order
	wrong    []string

	conditions map[stanza.Condition]int // of what was returned
	presence   func(*component.Stanza)  // gets the sender's presence
}

type arrival struct {
	number int
	at     time.Time
	stored bool // the host had it until the receiver logged in
}

func newFlow(from, to *person) *flow {
	address := func(n, of *node, account string) jid.JID {
		local, _, _ := strings.Cut(account, "@")
		return jid.MustParse(local + strings.TrimPrefix(n.contacts(of), of.user))
	}
	return &flow{id: rand.Text(), from: from, to: to, addr: address(from.n, to.n, to.account),
		seen: address(to.n, from.n, from.account), returned: map[int]bool{}, conditions: map[stanza.Condition]int{}}
}

// speak sends a message from time to time.
func (f *flow) speak(ctx context.Context) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.say(false)
		}
	}
}

// say sends the next number, and gives it.
func (f *flow) say(evenIfQuiet bool) (number int, ok bool) {
	p := f.from
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == nil || p.quiet && !evenIfQuiet {
		return 0, false
	}
	f.mu.Lock()
	number = len(f.sent)
	f.sent = append(f.sent, time.Now())
	f.mu.Unlock()
	m := &component.Stanza{Kind: component.Message, Type: "chat", ID: f.stanzaID(number), To: f.addr}
	p.client.Send(m.Add(body(strconv.Itoa(number)))) // if that fails it counts as sent: some of it may be
	return number, true
}

func (f *flow) stanzaID(number int) string { return fmt.Sprintf("%s-%d", f.id, number) }

// arrived takes note of a message to the flow's receiver, if it is of the flow.
func (f *flow) arrived(s *component.Stanza) {
	if s.Type == "error" || !s.From.Bare().Equal(f.seen) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Kind != component.Message {
		if f.presence != nil {
			f.presence(s)
		}
		return
	}
	number, err := strconv.Atoi(s.Body())
	if err != nil || s.ID != f.stanzaID(number) {
		f.wrong = append(f.wrong, s.String())
		return
	}
	f.got = append(f.got, arrival{number, time.Now(), stored(s, f.to.n.domain)})
}

// stored tells if the host says that it was it that kept a message (XEP-0160 §3).
func stored(s *component.Stanza, host string) bool {
	return slices.ContainsFunc(s.Nodes, func(n component.Node) bool {
		e := n.Element
		return e != nil && e.Name.Space == "urn:xmpp:delay" && e.AttrValue("from") == host
	})
}

// cameBack takes note of an error to the flow's sender, if it answers the flow.
func (f *flow) cameBack(s *component.Stanza) {
	number, ours := strings.CutPrefix(s.ID, f.id+"-")
	if !ours || s.Type != "error" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := strconv.Atoi(number)
	if err != nil {
		f.wrong = append(f.wrong, s.String())
		return
	}
	f.returned[n] = true
	f.conditions[s.StanzaError().Condition]++
}

func (f *flow) has(number int) (got, returned bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.got, func(a arrival) bool { return a.number == number }), f.returned[number]
}

// count is how many were sent.
func (f *flow) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent)
}

// strange is what came that is of the flow, and not as it was sent.
func (f *flow) strange() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.wrong)
}

// finish sends one more message, which has to arrive. As that comes last, whatever comes
// at all is there then.
func (f *flow) finish(t testing.TB) {
	end := time.Now().Add(3 * time.Minute)
	for time.Now().Before(end) {
		number, ok := f.say(true)
		for ok && time.Now().Before(end) {
			got, returned := f.has(number)
			if got {
				return
			}
			if returned {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // the host has no Allium yet
	}
	for _, n := range []*node{f.from.n, f.to.n} {
		t.Logf("%s ends:\n%s", n.log, tail(n.log))
	}
	t.Fatalf("%s to %s: the last message does not arrive", f.from.account, f.to.account)
}

// A reckoning is what became of the messages of a flow.
type reckoning struct {
	sent, arrived, returned int
	lost                    []int // neither arrived nor returned
	both                    []int // arrived and returned
	twice                   []int // once for each further time
	disorder                []int // first came after a higher number
	late                    []int // the same, but the host had it meanwhile
}

func (f *flow) reckon(t testing.TB) reckoning {
	assert.Empty(t, f.strange(), "%s to %s", f.from.account, f.to.account)
	r := f.between(0, f.count())
	t.Logf("%s to %s: %d sent, %d arrived, %d returned by the host or Allium, %d lost, %d more than once, %d kept by the host for too long",
		f.from.account, f.to.account, r.sent, r.arrived, r.returned, len(r.lost), len(r.twice), len(r.late))
	return r
}

// between is what became of the numbers from one to below another.
func (f *flow) between(from, to int) (r reckoning) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.sent = to - from
	seen, highest, highestStored := map[int]bool{}, -1, -1
	for _, a := range f.got {
		switch {
		case a.number < from || a.number >= to:
			continue
		case seen[a.number]:
			r.twice = append(r.twice, a.number)
			continue
		case a.stored && a.number > highestStored:
			if a.number < highest {
				r.late = append(r.late, a.number)
			}
			highestStored = a.number
		case a.number < highest:
			r.disorder = append(r.disorder, a.number)
		}
		seen[a.number], highest = true, max(highest, a.number)
	}
	r.arrived = len(seen)
	for n := from; n < to; n++ {
		if f.returned[n] {
			r.returned++
		}
		switch {
		case !seen[n] && !f.returned[n]:
			r.lost = append(r.lost, n)
		case seen[n] && f.returned[n]:
			r.both = append(r.both, n)
		}
	}
	return r
}

// around is when the message before and the one after a number arrived first.
func (f *flow) around(number int) (before, after time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.got {
		if a.number < number {
			before = a.at
		} else if a.number > number {
			return before, a.at
		}
	}
	return before, time.Now()
}

// times are when a number arrived.
func (f *flow) times(number int) (at []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.got {
		if a.number == number {
			at = append(at, a.at)
		}
	}
	return at
}
