"""A person with slixmpp. What can be done and is told: room_lines.py."""

import asyncio

import slixmpp
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import StanzaPath

from room_lines import number, obey, tell


class Person:
    async def login(self, jid, password, host, port):
        self.client = c = slixmpp.ClientXMPP(jid, password)
        c["feature_mechanisms"].unencrypted_scram = True  # there is no TLS on loopback
        for plugin in "xep_0045", "xep_0199", "xep_0203", "xep_0313":
            c.register_plugin(plugin)
        self.muc = c["xep_0045"]
        self.failed = {}  # by the id of a stanza, or the nickname that is asked for: who waits for the answer
        c.add_event_handler("groupchat_presence", self.presence)
        c.add_event_handler("groupchat_message", self.heard)
        c.add_event_handler("groupchat_subject", self.titled)
        c.add_event_handler("groupchat_invite", self.invited)
        c.add_event_handler("message", self.whispered)
        c.add_event_handler("message_error", self.error)
        # slixmpp has no event for a refused nickname.
        c.register_handler(Callback("refused", StanzaPath("presence@type=error"), self.error))
        started = c.wait_until("session_start", 30)
        c.connect((host, port), disable_starttls=True)
        await started
        c.send_presence()

    async def logout(self):
        await self.client.disconnect()

    async def join(self, room, nick):
        self.room, self.me, self.topic = room, nick, None
        joined = asyncio.ensure_future(self.muc.join_muc_wait(room, nick, maxstanzas=20))
        # A refusal that does not repeat what was asked, as Prosody's, slixmpp waits on for ever.
        refused = self.failed[f"{room}/{nick}"] = asyncio.get_running_loop().create_future()
        done, waits = await asyncio.wait({joined, refused}, return_when=asyncio.FIRST_COMPLETED)
        for future in waits:
            future.cancel()
        if refused in done:
            self.muc.rooms.pop(room)
        for future in done:
            future.result()

    def presence(self, p):
        muc, item = p["muc"], p["muc"]["item"]
        told = {"nick": muc["nick"], "role": muc["role"], "affiliation": muc["affiliation"], "codes": number(muc["status_codes"]),
                "actor": item["actor"]["nick"] or None, "reason": item["reason"] or None}
        gone, own = p["type"] == "unavailable", 110 in muc["status_codes"]
        if gone and 303 in muc["status_codes"]:
            tell(event="nick", to=item["nick"], **told)
        elif gone:
            tell(event="leave", **told)
            if own:  # slixmpp leaves that to its users
                self.muc.rooms.pop(self.room)
        else:
            tell(event="enter" if own else "change", **told)
        if own and not gone:
            self.me = muc["nick"]

    def heard(self, m):
        tell(event="message", nick=m["from"].resource, body=m["body"], delayed=bool(m.get_plugin("delay", check=True)))
        self.answered(m["id"], None)

    def whispered(self, m):
        if m["type"] == "chat":
            tell(event="whisper", nick=m["from"].resource, body=m["body"])

    def titled(self, m):
        self.topic = m["subject"]
        tell(event="subject", nick=m["from"].resource, body=m["subject"])
        self.answered(m["id"], None)

    def invited(self, m):
        invite = m["muc"]["invite"]
        tell(event="invite", room=m["from"].bare, actor=str(invite["from"]), reason=invite["reason"])

    def error(self, stanza):
        for name in stanza["id"], stanza["from"].full:
            self.answered(name, Refused(stanza["error"]["condition"]))

    def answered(self, id, error):
        waits = self.failed.pop(id, None)
        if waits is None or waits.done():
            return
        if error:
            waits.set_exception(error)
        else:
            waits.set_result(None)

    async def sent(self, stanza):
        """Sends, and returns when it is reflected, or fails if it came back."""
        waits = self.failed[stanza["id"]] = asyncio.get_running_loop().create_future()
        stanza.send()
        await waits

    async def view(self):
        """What slixmpp thinks that the room is like."""
        occupants = self.muc.rooms.get(self.room, {})
        return {"me": self.me, "joined": self.me in occupants, "subject": self.topic,
                "occupants": {nick: {"role": o["role"], "affiliation": o["affiliation"], "jid": slixmpp.JID(o["jid"]).bare}
                              for nick, o in occupants.items()}}

    async def say(self, body):
        await self.sent(self.client.make_message(self.room, body, mtype="groupchat"))

    async def whisper(self, nick, body):
        message = self.client.make_message(f"{self.room}/{nick}", body, mtype="chat")
        message.enable("muc")
        message.send()

    async def subject(self, text):
        await self.sent(self.client.make_message(self.room, msubject=text, mtype="groupchat"))

    async def nick(self, to):
        """Returns when the room has told of the new nickname, or fails if it was refused."""
        presence = self.client.make_presence(pto=f"{self.room}/{to}")
        waits = self.failed[presence["id"]] = asyncio.get_running_loop().create_future()

        def own(p):
            if p["muc"]["nick"] == to:
                self.answered(presence["id"], None)
        with self.client.event_handler(f"muc::{self.room}::self-presence", own):
            presence.send()
            await waits

    async def role(self, nick, role, reason=""):
        await self.muc.set_role(self.room, nick, role, reason=reason)

    async def affiliation(self, jid, affiliation, reason=""):
        await self.muc.set_affiliation(self.room, affiliation, jid=jid, reason=reason)

    async def affiliated(self, affiliation):
        return sorted(str(jid) for jid in await self.muc.get_affiliation_list(self.room, affiliation))

    async def destroy(self, reason):
        await self.muc.destroy(self.room, reason)

    async def leave(self):
        """Returns when the room has told that the person is out."""
        left = self.client.wait_until(f"muc::{self.room}::got_offline", 60)
        self.client.send_presence(pto=f"{self.room}/{self.me}", ptype="unavailable")
        await left

    async def ping(self):
        """Asks the room if the person is in it (XEP-0410)."""
        await self.client["xep_0199"].send_ping(f"{self.room}/{self.me}")

    async def archive(self):
        """What the room has kept, oldest first (XEP-0313)."""
        kept = []
        async for m in self.client["xep_0313"].iterate(self.room, rsm={"max": 5}):
            said = m["mam_result"]["forwarded"]["stanza"]
            kept.append({"nick": said["from"].resource, "body": said["body"]})
        return kept


class Refused(Exception):
    def __init__(self, condition):
        super().__init__(condition)
        self.condition = condition


def condition(e):
    return e.condition if isinstance(e, (IqError, PresenceError, Refused)) else None


if __name__ == "__main__":
    asyncio.run(obey(Person(), condition))
