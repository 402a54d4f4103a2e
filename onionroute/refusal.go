package onionroute

import (
	"errors"
	"slices"
	"time"

	"mellium.im/xmpp/stanza"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// A refusal is an error of the peer's in the place of stream features: its answer to our
// header, which says nothing but who we are and who it is. It is the peer's own word, since
// by a stream that we opened it is the holder of the onion key that answers, and nobody on
// the way can. Whether it is a decision or a fault that passes is another question: see
// isRefusal.
type refusal struct {
	error
	firm bool // it is a decision
}

func (r *refusal) Unwrap() error { return r.error }

// refusing are the conditions by which servers refuse others (RFC 6120 §4.9.3).
var refusing = []condition.Error{condition.PolicyViolation, condition.HostUnknown, condition.NotAuthorized}

// refusal makes a refusal of an error that was read in the place of features, if it is one.
// The only policy that another Allium has there is the list of peers that its admin has
// made, which is the same for as long as it runs: so from one, which its chain proves it to
// be, that is a decision at once.
func (st *stream) refusal(err error) error {
	received := new(component.ReceivedError)
	if !errors.As(err, &received) || !slices.ContainsFunc(refusing, func(c condition.Error) bool { return c.Err == received.Condition.Err }) {
		return err
	}
	return &refusal{err, st.chain == st.base && received.Condition.Err == condition.PolicyViolation.Err}
}

// isRefusal tells if an error is a refusal that is a decision of the peer's, so that nothing
// needs to wait for another.
func isRefusal(err error) bool {
	r := new(refusal)
	return errors.As(err, &r) && r.firm
}

// weigh makes a refusal a decision when the peer has answered nothing else for the time of
// grace. Other servers say the same for a moment while they start, or are configured.
func (p *peer) weigh(err error) {
	r := new(refusal)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !errors.As(err, &r) {
		p.refused = time.Time{}
		return
	}
	if p.refused.IsZero() {
		p.refused = time.Now()
	}
	r.firm = r.firm || time.Since(p.refused) >= p.g.times.grace
}

func errRefused() error {
	return component.NewError(stanza.Cancel, stanza.NotAllowed, "The other server does not accept contact with this one.")
}
