"""A person with aioxmpp. What can be done and is told: room_lines.py."""

import asyncio
import contextlib
from datetime import timedelta

import aioxmpp
import aioxmpp.im.p2p
import aioxmpp.muc
from aioxmpp.tracking import MessageState

from room_lines import number, obey, tell


def text(languages):
    return languages.any() if languages else ""


def named(occupant):
    return {"nick": occupant.nick, "role": occupant.role, "affiliation": occupant.affiliation}


def why(actor=None, reason=None, codes=()):
    return {"actor": actor and (actor.nick or str(actor.jid)), "reason": reason, "codes": number(codes)}


class Person:
    async def login(self, jid, password, host, port):
        self.client = aioxmpp.PresenceManagedClient(
            aioxmpp.JID.fromstr(jid),
            # There is no TLS on loopback.
            aioxmpp.make_security_layer(password, no_verify=True)._replace(tls_required=False),
            override_peer=[(host, port, aioxmpp.connector.STARTTLSConnector())])
        self.muc = self.client.summon(aioxmpp.MUCClient)
        self.muc.on_muc_invitation.connect(self.invited)
        self.private = self.client.summon(aioxmpp.im.p2p.Service)
        self.private.on_conversation_new.connect(self.addressed)
        self.stack = contextlib.AsyncExitStack()
        await self.stack.enter_async_context(self.client.connected())

    async def logout(self):
        await self.stack.aclose()

    async def join(self, room, nick):
        room, joined = self.muc.join(aioxmpp.JID.fromstr(room), nick)
        self.room, self.subjects = room, asyncio.Queue()
        room.on_muc_enter.connect(self.entered)
        room.on_muc_suspend.connect(lambda **_: tell(event="suspend"))
        room.on_muc_stale.connect(lambda **_: tell(event="stale"))
        room.on_join.connect(lambda o, **_: tell(event="join", **named(o)))
        room.on_leave.connect(self.left)
        room.on_exit.connect(lambda **args: self.left(room.me, **args))
        room.on_nick_changed.connect(lambda o, old, new, **_: tell(event="nick", nick=old, to=new))
        room.on_muc_role_changed.connect(self.changed)
        room.on_muc_affiliation_changed.connect(self.changed)
        room.on_topic_changed.connect(
            lambda o, subject, *, muc_nick=None, **_: tell(event="subject", nick=muc_nick, body=text(subject)))
        room.on_message.connect(self.heard)
        await joined

    def entered(self, presence, occupant, *, muc_status_codes=(), **_):
        tell(event="enter", codes=number(muc_status_codes), **named(occupant))

    def left(self, occupant, *, muc_leave_mode=None, muc_actor=None, muc_reason=None, muc_status_codes=(), **_):
        tell(event="leave", nick=occupant.nick, mode=muc_leave_mode.name, **why(muc_actor, muc_reason, muc_status_codes))

    def changed(self, presence, occupant, *, actor=None, reason=None, status_codes=(), **_):
        tell(event="change", **named(occupant), **why(actor, reason, status_codes))

    def heard(self, message, occupant, source, **_):
        if message.from_:  # else it is the person's own, before the room has it
            tell(event="message", nick=message.from_.resource, body=text(message.body), delayed=bool(message.xep0203_delay))

    def addressed(self, conversation, **_):
        conversation.on_message.connect(self.whispered)  # and return nothing: a true value ends it

    def whispered(self, message, member, source, **_):
        if not member.is_self:
            tell(event="whisper", nick=message.from_.resource, body=text(message.body))

    def invited(self, stanza, room, inviter, mode, *, reason=None, **_):
        tell(event="invite", room=str(room), actor=str(inviter), reason=reason)

    async def view(self):
        """What aioxmpp thinks that the room is like."""
        return {"me": self.room.me.nick, "joined": self.room.muc_joined, "subject": text(self.room.muc_subject),
                "occupants": {o.nick: {"role": o.role, "affiliation": o.affiliation, "jid": str(o.direct_jid or "")}
                              for o in self.room.members}}

    async def say(self, body):
        """Returns when the room has reflected it, or fails if it came back."""
        message = aioxmpp.Message(type_=aioxmpp.MessageType.GROUPCHAT)
        message.body[None] = body
        reflected = asyncio.get_running_loop().create_future()

        def update(state, response=None):
            if state == MessageState.DELIVERED_TO_RECIPIENT:
                reflected.set_result(None)
            elif state == MessageState.ERROR:
                reflected.set_exception(response.error.to_exception())
        _, tracker = self.room.send_message_tracked(message)
        tracker.on_state_changed.connect(update)
        await reflected

    async def whisper(self, nick, body):
        message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT)
        message.body[None] = body
        message.xep0045_muc_user = aioxmpp.muc.xso.UserExt()
        self.private.get_conversation(self.room.jid.replace(resource=nick)).send_message(message)

    async def subject(self, text):
        await self.room.set_topic({None: text})

    async def nick(self, to):
        await self.room.set_nick(to)

    async def role(self, nick, role, reason=None):
        await self.room.muc_set_role(nick, role, reason=reason)

    async def affiliation(self, jid, affiliation, reason=None):
        await self.muc.set_affiliation(self.room.jid, aioxmpp.JID.fromstr(jid), affiliation, reason=reason)

    async def affiliated(self, affiliation):
        return sorted(str(jid) for jid in await self.muc.get_affiliated(self.room.jid, affiliation))

    async def invite(self, jid, reason):
        await self.room.invite(aioxmpp.JID.fromstr(jid), text=reason, mode=aioxmpp.im.InviteMode.MEDIATED)

    async def configure(self, **fields):
        form = aioxmpp.muc.ConfigurationForm.from_xso(await self.muc.get_room_config(self.room.jid))
        for name, value in fields.items():
            getattr(form, name).value = value
        await self.muc.set_room_config(self.room.jid, form.render_reply())

    async def leave(self):
        await self.room.leave()

    async def watch(self):
        """Asks the room again and again if the person is in it (XEP-0410), as aioxmpp does
        when nothing was heard for minutes, and lets it act on the answer."""
        soon = timedelta(seconds=0.2)
        self.room.muc_ping_interval, self.room.muc_ping_timeout = soon, timedelta(seconds=5)
        self.room.muc_soft_timeout, self.room.muc_hard_timeout = soon, timedelta(minutes=5)


def condition(e):
    return e.condition.value[1] if isinstance(e, aioxmpp.errors.XMPPError) else None


asyncio.run(obey(Person(), condition))
