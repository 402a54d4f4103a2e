package onionroute

import (
	"errors"
	"slices"
	"strings"
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
// know that there is Tor behind it. Prosody's rooms tell all in them why somebody was thrown
// out, so those of a native host get none.
func (g *Gateway) forSender(from jid.JID, err error) error {
	room := g.guard.hasRooms(from.Domainpart())
	if room && errors.Is(err, errRefused()) {
		// By this a room knows that who was in it cannot be any more (XEP-0045 §18.1.2).
		return component.NewError(stanza.Cancel, stanza.RemoteServerNotFound, "")
	}
	var se stanza.Error
	if !room && slices.Contains(g.c.Hosts, from.Domainpart()) || !errors.As(err, &se) {
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

const textUnreachable = "The server cannot be reached through Tor at the moment."

// Errors for local users. Their texts do not cross to peers, nor to strangers.
func errUnreachable() error { return unreachable(textUnreachable) }

// errExpired is for what has waited in vain; err is why the last attempt failed.
func errExpired(since time.Time, err error) error {
	return unreachable("The server could not be reached through Tor since "+since.UTC().Format("2006-01-02 15:04")+" UTC.", torSays(err),
		"The message was not delivered, and is not kept any longer.")
}

func unreachable(sentences ...string) error {
	said := slices.DeleteFunc(sentences, func(s string) bool { return s == "" })
	return component.NewError(stanza.Wait, stanza.RemoteServerTimeout, strings.Join(said, " "))
}

// torSays is what Tor knows of why a server cannot be reached, if it knows anything. One
// that is off-line for some hours is to Tor as one that does not exist: so what is for
// either waits.
func torSays(err error) string {
	var socks *SOCKSError
	if !errors.As(err, &socks) {
		return ""
	}
	switch socks.Code {
	case socksNoDescriptor:
		return "Tor does not find it: it has been off-line for a while, or there is no such server."
	case socksNoIntroduction:
		return "It was there not long ago, but takes no connections now."
	case socksNoRendezvous:
		return "It seems to be there, but no connection to it came about."
	case socksNoAnswer:
		return "It was there not long ago, but does not answer in time."
	}
	return ""
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
		case socksNoKey:
			return errPrivate()
		case socksBadKey:
			return errWrongKey()
		}
	}
	return unreachable(textUnreachable, torSays(err))
}
