package onionroute

import (
	"errors"
	"slices"
	"time"

	"mellium.im/xmpp/jid"
	"mellium.im/xmpp/stanza"

	"github.com/allium-xmpp/allium/component"
)

func errTooLarge() error {
	return component.NewError(stanza.Modify, stanza.PolicyViolation, "The stanza is too large for onion servers.")
}

// forSender gives an error the form in which the sender of a stanza gets it: with its text, if
// it is one of our users. Others, who come by an alias or through a room, do not need to
// know that there is Tor behind it.
func (g *Gateway) forSender(from jid.JID, err error) error {
	if g.guard.hasRooms(from.Domainpart()) && errors.Is(err, errRefused()) {
		// By this a room knows that who was in it cannot be any more (XEP-0045 §18.1.2).
		return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "")
	}
	var se stanza.Error
	if slices.Contains(g.c.Hosts, from.Domainpart()) || !errors.As(err, &se) {
		return err
	}
	return component.NewError(se.Type, se.Condition, "")
}

// returned is the answer to a stanza, of which the head is enough, by an error. It is nil if
// there must be none. To who wants to enter a room it says what it is about (XEP-0045 §7.2).
func (g *Gateway) returned(head *component.Stanza, err error) *component.Stanza {
	r := head.Error(g.forSender(head.From, err))
	if r != nil && isJoin(head) {
		r.Nodes = append([]component.Node{component.NewElement(nsMUC, "x").Node()}, r.Nodes...)
	}
	return r
}

// Errors for local users. Their texts do not cross to peers, nor to strangers.
func errUnreachable() error {
	return component.NewError(stanza.Wait, stanza.RemoteServerTimeout, "The server cannot be reached through Tor at the moment.")
}

func errExpired(since time.Time) error {
	return component.NewError(stanza.Wait, stanza.RemoteServerTimeout,
		"The server could not be reached through Tor since "+since.UTC().Format("2006-01-02 15:04")+" UTC. The message was not delivered, and is not kept any longer.")
}

func errNoSuchServer() error {
	return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "This is not the address of an onion service.")
}

func errTooMuch() error {
	return component.NewError(stanza.Wait, stanza.ResourceConstraint, "Too much is waiting for this server already.")
}

func errNotKept() error {
	return component.NewError(stanza.Wait, stanza.ResourceConstraint, "The server cannot be reached at the moment, and the message cannot be kept: there is no room on disk.")
}

// userError is the error that a local user gets for a failure to connect.
func userError(err error) error {
	var socks *SOCKSError
	if isRefusal(err) {
		return errRefused()
	}
	if errors.As(err, &socks) {
		switch socks.Code {
		case socksBadAddress:
			return errNoSuchServer()
		case socksNoKey, socksBadKey:
			return errPrivate()
		}
	}
	return errUnreachable()
}
