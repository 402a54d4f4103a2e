package muc

import "github.com/allium-xmpp/allium/component"

// Namespaces that this package reads or writes.
const (
	NSMUC         = "http://jabber.org/protocol/muc"
	NSUser        = "http://jabber.org/protocol/muc#user"
	NSAdmin       = "http://jabber.org/protocol/muc#admin"
	NSOwner       = "http://jabber.org/protocol/muc#owner"
	NSUnique      = "http://jabber.org/protocol/muc#unique"
	NSRoomConfig  = "http://jabber.org/protocol/muc#roomconfig"
	NSRoomInfo    = "http://jabber.org/protocol/muc#roominfo"
	NSRequest     = "http://jabber.org/protocol/muc#request"
	NSRegisterMU  = "http://jabber.org/protocol/muc#register"
	NSSelfPing    = "http://jabber.org/protocol/muc#self-ping-optimization"
	NSTraffic     = "http://jabber.org/protocol/muc#traffic"
	NSStableID    = "http://jabber.org/protocol/muc#stable_id"
	NSReactions   = "urn:xmpp:reactions:0"
	NSRegister    = "jabber:iq:register"
	NSConference  = "jabber:x:conference"
	NSDelay       = "urn:xmpp:delay"
	NSHints       = "urn:xmpp:hints"
	NSSID         = "urn:xmpp:sid:0"
	NSOccupantID  = "urn:xmpp:occupant-id:0"
	NSVCard       = "vcard-temp"
	NSAvatar      = "vcard-temp:x:update"
	NSHats        = "urn:xmpp:hats:0"
	NSModerate    = "urn:xmpp:message-moderate:1"
	NSRetract     = "urn:xmpp:message-retract:1"
	NSFastening   = "urn:xmpp:fasten:0"
	NSMAM         = "urn:xmpp:mam:2"
	NSMAMExtended = "urn:xmpp:mam:2#extended"
	NSForward     = "urn:xmpp:forward:0"
	NSRSM         = "http://jabber.org/protocol/rsm"
	NSCommands    = component.NSCommands
	NSAllium      = "urn:xmpp:allium:0"
	NSChatStates  = "http://jabber.org/protocol/chatstates"
)
