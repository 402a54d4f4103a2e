package onionroute

import (
	"fmt"
	"slices"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

// sender is the translation of who sends something to a peer: a session, and the host, get
// a mask that what the peer answers finds them by.
func (gd *guard) sender(base string) translation { return gd.translation(base, gd.masks.show) }

// toOnion is the translation of other addresses towards a peer. In these a session that the
// peer does not know is its account: who writes addresses makes no masks, and so cannot
// make others be forgotten.
func (gd *guard) toOnion(base string) translation { return gd.translation(base, gd.masks.known) }

// translation masks addresses that a peer must not see. One at a name of the host that peers
// do not know has no form.
func (gd *guard) translation(base string, mask func(real, as jid.JID, base string) jid.JID) translation {
	return func(j jid.JID) (jid.JID, error) {
		switch {
		case gd.isAccount(j):
			if gd.on["resource"] && j.Resourcepart() != "" {
				j = mask(j, j, base)
			}
		case !gd.on["nested-jids"]:
		case gd.isHost(j):
			gateway, err := jid.New("", gd.m.Gateway, "")
			if err != nil {
				return j, err
			}
			j = mask(j, gateway, base)
		case gd.m.Services[j.Domainpart()] == "" && j.Domainpart() != gd.m.Gateway && gd.exposes(j.Domainpart()):
			o, err := gd.m.ToOnion(j)
			if err == nil && gd.m.own(o.Domainpart()) { // it is no alias of a peer
				err = fmt.Errorf("%w: it is at the host", ErrAddress)
			}
			return o, err
		}
		return gd.m.ToOnion(j)
	}
}

// toHost is the translation of what a peer wrote to somebody. Of masks it undoes theirs alone:
// by those of others, whoever it goes on to would learn what their clients are called.
func (gd *guard) toHost(base string, to jid.JID) translation {
	return func(j jid.JID) (jid.JID, error) {
		j, err := gd.m.ToHost(j)
		if err != nil {
			return j, err
		}
		if j.Resourcepart() == "" {
			return j, nil
		}
		if real, ok := gd.masks.real(j, base); ok && real.Bare().Equal(to.Bare()) {
			return real, nil
		}
		return j, nil
	}
}

// isHost tells of the address of the host itself.
func (gd *guard) isHost(j jid.JID) bool {
	return j.Localpart() == "" && slices.Contains(gd.m.Domains, j.Domainpart()) && !isOnionName(j.Domainpart())
}

// hostAsSender finds what the host itself sends, such as questions for the features of a
// contact's client. The translation masks it, so that the answer finds back.
func hostAsSender(gd *guard, s *component.Stanza) finding { return changed(gd.isHost(s.From)) }

// hostAsReceiver finds answers to that.
func hostAsReceiver(gd *guard, s *component.Stanza) finding {
	if s.To.Localpart() != "" || s.To.Domainpart() != gd.m.Gateway || s.To.Resourcepart() == "" {
		return finding{}
	}
	real, ok := gd.masks.real(s.To, gd.base(s.From))
	if !ok {
		return finding{}
	}
	if s.IsRequest() {
		return notFound()
	}
	s.To = real
	return changed(true)
}

// maskSender finds users who send with a resource of their own. The translation
// masks it.
func maskSender(gd *guard, s *component.Stanza) finding {
	if !gd.isAccount(s.From) || s.From.Resourcepart() == "" {
		return finding{}
	}
	if s.Kind == component.Presence {
		gd.masks.presence(s.From, gd.base(s.To), s.To, s.Type)
	}
	return changed(true)
}

// unmask finds the session that a peer means. One that is not there any more is
// treated as RFC 6121 §8.5.3.2 says of resources that do not exist.
func unmask(gd *guard, s *component.Stanza) finding {
	if !gd.isAccount(s.To) || s.To.Resourcepart() == "" {
		return finding{}
	}
	real, ok := gd.masks.real(s.To, gd.base(s.From))
	switch {
	case ok:
		s.To = real
	case s.IsRequest() || s.Type == string(stanza.GroupChatMessage):
		return unavailable()
	case s.Kind == component.IQ, s.Type == "error":
		return finding{hit: true, drop: true}
	default:
		s.To = s.To.Bare()
	}
	return changed(true)
}

// hostNames removes what still has a name of the host in it, after the addresses in known
// places were translated. What people write themselves is left as it is.
func hostNames(gd *guard, s *component.Stanza) finding {
	hit := wholeForms(&s.Nodes, gd.exposes)
	hit = gd.sift(&s.Attr, &s.Nodes, func(v string) (string, bool) { return v, !gd.exposes(v) }) || hit
	// Text beside the elements of a stanza means nothing.
	if gd.exposes((&component.Element{Nodes: s.Nodes}).Text()) {
		s.Nodes = slices.DeleteFunc(s.Nodes, func(n component.Node) bool { return n.Element == nil })
		hit = true
	}
	if hit && s.IsRequest() && s.Payload() == nil {
		return refused(stanza.Cancel, stanza.PolicyViolation, "The request has an address in it that contacts at onion servers must not see.")
	}
	return changed(hit)
}
