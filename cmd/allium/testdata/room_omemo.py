"""A person with slixmpp who encrypts in both formats of OMEMO, with python-omemo. What can
be done and is told: room_lines.py."""

import asyncio

import oldmemo.etree
import oldmemo.oldmemo
import omemo
import slixmpp
import twomemo.etree
import twomemo.twomemo
from omemo.storage import Just, Nothing, Storage
from slixmpp.exceptions import IqError

import room_slixmpp
from room_lines import obey, tell

LEGACY, OMEMO2 = oldmemo.oldmemo.NAMESPACE, twomemo.twomemo.NAMESPACE
FORMATS = {LEGACY: oldmemo.etree, OMEMO2: twomemo.etree}


def devices_node(format):
    return (LEGACY + ".devicelist" if format == LEGACY else OMEMO2 + ":devices"), "current"


def bundle_node(format, device):
    return (f"{LEGACY}.bundles:{device}", "current") if format == LEGACY else (OMEMO2 + ":bundles", str(device))


class Memory(Storage):
    def __init__(self):
        super().__init__(True)
        self.values = {}

    async def _load(self, key):
        return Just(self.values[key]) if key in self.values else Nothing()

    async def _store(self, key, value):
        self.values[key] = value

    async def _delete(self, key):
        self.values.pop(key, None)


def sessions_of(person):
    """The library calls static methods, so each person needs a class."""
    class Sessions(omemo.SessionManager):
        @staticmethod
        async def _upload_bundle(bundle):
            node, item = bundle_node(bundle.namespace, bundle.device_id)
            await person.publish(node, item, FORMATS[bundle.namespace].serialize_bundle(bundle))

        @staticmethod
        async def _download_bundle(namespace, bare_jid, device_id):
            try:
                return await person.bundle(namespace, bare_jid, device_id)
            except IqError as e:
                raise omemo.BundleDownloadFailed(e.condition) from e

        @staticmethod
        async def _delete_bundle(namespace, device_id):
            raise omemo.BundleDeletionFailed("nothing is deleted here")

        @staticmethod
        async def _upload_device_list(namespace, device_list):
            node, item = devices_node(namespace)
            await person.publish(node, item, FORMATS[namespace].serialize_device_list(device_list))

        @staticmethod
        async def _download_device_list(namespace, bare_jid):
            try:
                return await person.devices(namespace, bare_jid)
            except IqError as e:
                if e.condition == "item-not-found":
                    return {}
                raise omemo.DeviceListDownloadFailed(e.condition) from e

        async def _evaluate_custom_trust_level(self, device):
            return omemo.TrustLevel.TRUSTED  # nobody here compares fingerprints

        async def _make_trust_decision(self, undecided, identifier):
            raise omemo.TrustDecisionFailed("everybody is trusted")

        @staticmethod
        async def _send_message(message, bare_jid):
            """What has no content is for private chats, which strangers in a room do not have."""
    return Sessions


class Person(room_slixmpp.Person):
    async def login(self, jid, **how):
        await super().login(jid, **how)
        for plugin in "xep_0004", "xep_0060":
            self.client.register_plugin(plugin)
        self.pubsub, self.turn = self.client["xep_0060"], asyncio.Lock()
        keep = Memory()
        self.sessions = await sessions_of(self).create(
            [twomemo.twomemo.Twomemo(keep), oldmemo.oldmemo.Oldmemo(keep)], keep, jid, None, "seen")
        await self.sessions.after_history_sync()

    async def publish(self, node, item, payload):
        """For everybody to read, and beside other items; ejabberd 23.01 keeps one alone."""
        wanted = {"FORM_TYPE": "http://jabber.org/protocol/pubsub#publish-options", "pubsub#access_model": "open"}
        for options in wanted | {"pubsub#max_items": "max"}, wanted:
            form = self.client["xep_0004"].make_form("submit")
            for name, value in options.items():
                form.add_field(name, value=value)
            try:
                return await self.pubsub.publish(None, node, id=item, payload=payload, options=form)
            except IqError:
                if options is wanted:
                    raise

    async def read(self, jid, node, item):
        answer = await self.pubsub.get_items(jid, node, item_ids=[item])
        return answer.xml.find("{*}pubsub/{*}items/{*}item/*")

    async def devices(self, format, jid):
        return FORMATS[format].parse_device_list(await self.read(jid, *devices_node(format)))

    async def bundle(self, format, jid, device):
        return FORMATS[format].parse_bundle(await self.read(jid, *bundle_node(format, device)), jid, device)

    async def keys(self, jid):
        """The keys of somebody, of each device in each format."""
        return {format: {device: await self.facts(format, jid, device) for device in await self.devices(format, jid)}
                for format in FORMATS}

    async def everybody(self):
        """The keys of all who are in the room, by nickname: by the addresses that are seen there."""
        seen = {nick: o["jid"] for nick, o in (await self.view())["occupants"].items()}
        return dict(zip(seen, await asyncio.gather(*map(self.keys, seen.values()))))

    async def facts(self, format, jid, device):
        bundle = await self.bundle(format, jid, device)
        return {"identity": bundle.identity_key.hex(), "signature": bundle.bundle.signed_pre_key_sig.hex(),
                "preKeys": len(bundle.pre_key_ids)}

    async def ask(self, jid, node):
        await self.pubsub.get_items(jid, node)

    async def unlock(self):
        """Makes the new room one as rooms are by default."""
        await self.muc.set_room_config(self.room, self.client["xep_0004"].make_form("submit"))

    async def secret(self, body, format):
        """Encrypts in that format to the members of the room, of whose devices the lists
        are read again, since nobody tells strangers of new ones."""
        members = {jid for a in ("owner", "admin", "member") for jid in await self.affiliated(a)}
        for jid in members:
            await self.sessions.refresh_device_list(format, jid)
        messages, errors = await self.sessions.encrypt(frozenset(members), dict.fromkeys(FORMATS, body.encode()), [format])
        if errors:
            raise ValueError(errors)
        for message in messages:
            stanza = self.client.make_message(self.room, "This message is encrypted.", mtype="groupchat")
            stanza.append(FORMATS[format].serialize_message(message))
            await self.sent(stanza)

    def heard(self, m):
        for format in FORMATS:
            encrypted = m.xml.find(f"{{{format}}}encrypted")
            if encrypted is None:
                continue
            self.answered(m["id"], None)
            if m["from"].resource != self.me:
                asyncio.ensure_future(self.opened(m["from"].resource, format, encrypted))
            return
        super().heard(m)

    async def opened(self, nick, format, encrypted):
        told = {"nick": nick, "mode": format}
        try:
            async with self.turn:
                own, sender = self.client.boundjid.bare, slixmpp.JID(self.muc.get_jid_property(self.room, nick, "jid")).bare
                if format == LEGACY:
                    message = await oldmemo.etree.parse_message(encrypted, sender, own, self.sessions)
                else:
                    message = twomemo.etree.parse_message(encrypted, sender)
                body, _, _ = await self.sessions.decrypt(message)
            tell(event="secret", body=body.decode(), **told)
        except Exception as e:
            tell(event="secret", reason=repr(e), **told)


if __name__ == "__main__":
    asyncio.run(obey(Person(), room_slixmpp.condition))
