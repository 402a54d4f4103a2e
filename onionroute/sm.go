package onionroute

import (
	"crypto/tls"
	"encoding/base32"
	"fmt"
	"strconv"

	"mellium.im/xmpp/stanza"
	condition "mellium.im/xmpp/stream"

	"github.com/allium-xmpp/allium/component"
)

// Stream management on a stream (XEP-0198).

func smElement(name string) *component.Element { return component.NewElement(nsSM, name) }

func number(h uint32) string { return strconv.FormatUint(uint64(h), 10) }

func smNumber(e *component.Element) (uint32, error) {
	h, err := strconv.ParseUint(e.AttrValue("h"), 10, 32)
	if err != nil {
		return 0, component.NewStreamError(condition.BadFormat, e.Name.Local+" without number")
	}
	return uint32(h), nil
}

// smID makes the SM-ID for a session that begins on a connection. Both sides know it
// as soon as TLS is there, so the one that asks for the session can keep it in the spool
// before it writes the first stanza: or a crash then would make it write twice.
func smID(c *tls.Conn) (string, error) {
	state := c.ConnectionState()
	secret, err := state.ExportKeyingMaterial("EXPORTER-allium-sm-id", nil, 20)
	if err != nil {
		return "", fmt.Errorf("onionroute: TLS: %w", err)
	}
	return base32.StdEncoding.EncodeToString(secret), nil
}

// A resumption is a request of the peer's to go on with a session (XEP-0198 §5).
type resumption struct {
	id string
	h  uint32
}

// manage handles an element of stream management from the peer.
func (st *stream) manage(e *component.Element) error {
	switch {
	case e.Name.Local == "r":
		sess := st.session()
		if sess == nil {
			return component.NewStreamError(condition.PolicyViolation, "no stream management")
		}
		st.acknowledge(sess)
		return nil
	case e.Name.Local == "a":
		h, err := smNumber(e)
		if err != nil {
			return err
		}
		return st.acked(h)
	case e.Name.Local == "enable" && !st.initiator:
		return st.enable(e)
	case e.Name.Local == "resume" && !st.initiator:
		h, err := smNumber(e)
		if err != nil {
			return err
		}
		if !st.isTrusted() || st.begins() {
			return st.c.reply(smFailed(stanza.UnexpectedRequest))
		}
		st.mu.Lock()
		st.wants, st.wanted = &resumption{e.AttrValue("previd"), h}, true
		st.mu.Unlock()
		return st.g.toPeer(st.peerName(), "", func(p *peer) error { return p.offer(st, nil) })
	case st.initiator:
		st.mu.Lock()
		defer st.mu.Unlock()
		switch {
		case e.Name.Local == "resumed" && st.resuming:
			h, err := smNumber(e)
			if err != nil {
				return err
			}
			st.resumed = &h
		case e.Name.Local == "failed" && st.resuming:
			st.refusedResume = true
		case e.Name.Local == "failed" && st.enabling && !st.sess.resumable():
			// XEP-0198 §3: the stream goes on without. What was written is asked about in the other way.
			st.log.Debug("the peer does not manage the stream after all")
			st.enabling, st.managed, st.offersSM, st.probe = false, false, false, ""
		case e.Name.Local == "failed" && st.enabling:
			return component.NewStreamError(condition.PolicyViolation, "no stream management after all")
		case e.Name.Local == "enabled" && st.enabling:
			st.enabling = false
			if id := e.AttrValue("id"); st.sess.resumable() && !st.sess.is(id) {
				return component.NewStreamError(condition.PolicyViolation, "another SM-ID")
			}
			st.sess.isKnown()
			st.log.Debug("the peer manages the stream")
		default:
			return component.NewStreamError(condition.UnsupportedStanzaType, e.Name.Local)
		}
		poke(st.kick)
		return nil
	}
	return component.NewStreamError(condition.UnsupportedStanzaType, e.Name.Local)
}

func smFailed(c stanza.Condition) *component.Element {
	return smElement("failed").Add(component.NewElement(component.NSStanzas, string(c)))
}

// enable starts a session that the peer asks for. It can be resumed only if the peer
// has proved itself by its chain.
func (st *stream) enable(e *component.Element) error {
	switch {
	case !st.isProven(""):
		return st.c.reply(smFailed(stanza.UnexpectedRequest))
	case st.begins():
		return component.NewStreamError(condition.PolicyViolation, "stream management twice")
	}
	sess, trusted := newSession(st.peerName(), ""), st.isTrusted()
	answer := smElement("enabled")
	if resume := e.AttrValue("resume"); trusted && (resume == "true" || resume == "1") {
		id, err := smID(st.tls)
		if err != nil {
			return err
		}
		sess.id, sess.accepted = id, true // nobody else knows it yet
		answer.With("id", id).With("resume", "true")
		if _, err := sess.tell(st.g); err != nil {
			st.g.unwritten(err)
			st.c.reply(smFailed(stanza.ResourceConstraint))
			return err // or what was written behind would be read, and come again
		}
	}
	if err := st.c.reply(answer); err != nil {
		st.g.endSession(sess)
		return err
	}
	if !trusted || !st.isBidi() {
		sess.start(st.g)
		st.goOn(sess)
		return nil
	}
	if err := st.g.toPeer(sess.peer, "", func(p *peer) error { return p.offer(st, sess) }); err != nil {
		st.g.endSession(sess) // nothing was read by it
		return err
	}
	poke(st.kick) // it may be the one that is used
	return nil
}

// begins tells if the stream has a session, or the peer has asked for one and waits.
func (st *stream) begins() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.sess != nil || st.wanted
}

// goOn makes the stream the one that a managed session goes on.
func (st *stream) goOn(sess *session) {
	st.mu.Lock()
	st.sess, st.managed = sess, true
	st.mu.Unlock()
	sess.goOn(st)
}

// acknowledge tells the peer how many of its stanzas were handled, never fewer than
// before. That is not urgent.
func (st *stream) acknowledge(sess *session) {
	st.acking.Lock()
	defer st.acking.Unlock()
	st.c.later(smElement("a").With("h", number(sess.toldPeer())))
}

// acked takes note of what the peer has handled.
func (st *stream) acked(h uint32) error {
	st.mu.Lock()
	sess, managed := st.sess, st.managed
	st.mu.Unlock()
	if sess == nil || !managed {
		return component.NewStreamError(condition.PolicyViolation, "no stream management")
	}
	items, ok := sess.acknowledged(h)
	if !ok {
		return component.NewStreamError(condition.UndefinedCondition, "it acknowledged more than it was sent")
	}
	st.answered(items)
	return nil
}
