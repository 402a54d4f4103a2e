"""A real implementation of OMEMO to test against: python-oldmemo and python-twomemo.

    peer.py make FOLDER    makes keys, and writes bundles and device lists of both formats
    peer.py check FOLDER   reads such files, and begins a session with each bundle
    peer.py meet FOLDER    writes bundles, and after a number n on its standard input reads n
                           each of NAME-given-0.xml and so on: with each of them another
                           device begins a session, and the one that made the bundle reads
                           what they wrote
    peer.py talk FOLDER FORMAT JID ID
                           begins a session with FORMAT-bundle.xml of that device, does what the
                           lines of its standard input say, and prints a line for each:
                           "write NAME PLAINTEXT" encrypts to NAME.xml, without a payload if there
                           is no plain text, and prints its own device's id; "read NAME" decrypts
                           NAME.xml, and prints the plain text as JSON, null if there is no payload

All print, as JSON, what the files mean, or why a bundle is refused. The files here
were made by "peer.py make .", and are read by the tests as well as fresh ones.
"""

import asyncio
import base64
import json
import os
import secrets
import sys
import xml.etree.ElementTree as ET

import oldmemo
import oldmemo.etree
import oldmemo.oldmemo
import omemo
import omemo.message
import twomemo
import twomemo.etree
import xeddsa
from omemo.identity_key_pair import IdentityKeyPair
from omemo.storage import Just, Nothing, Storage

JID = "juliet@capulet.example"
PRE_KEYS = 25
LABEL = "Jülia's phone & \"tablet\" 📱"
FORMATS = {
    "legacy": (oldmemo.Oldmemo, oldmemo.etree),
    "omemo2": (twomemo.Twomemo, twomemo.etree),
}


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


def bundle_meaning(bundle):
    return {
        "identity": bundle.identity_key.hex(),
        "signedPreKey": [bundle.signed_pre_key_id, bundle.bundle.signed_pre_key.hex()],
        "signature": bundle.bundle.signed_pre_key_sig.hex(),
        "preKeys": sorted([i, k.hex()] for k, i in bundle.pre_key_ids.items()),
    }


def signed_labels(devices, identity_key):
    """The labels that identity_key has signed. Takes the signatures out, which twomemo does not know."""
    labels = {}
    for device in devices:
        sig = base64.b64decode(device.attrib.pop("labelsig", ""))
        label = device.get("label", "").encode()
        if sig and xeddsa.ed25519_verify(sig, identity_key, label):
            labels[device.get("id")] = device.get("label")
    return labels


def write(folder, name, element, namespace):
    ET.register_namespace("", namespace)
    ET.indent(element)
    ET.ElementTree(element).write(os.path.join(folder, name + ".xml"), encoding="utf-8")


async def make(folder):
    out = {}
    for name, (backend, etree) in FORMATS.items():
        storage = Memory()
        device = backend(storage)
        await device.generate_pre_keys(PRE_KEYS)
        own = 1 + secrets.randbelow(2**31 - 1)
        bundle = await device.get_bundle(JID, own)
        write(folder, name + "-bundle", etree.serialize_bundle(bundle), device.namespace)

        devices = etree.serialize_device_list({own: None, 1: None, 2**31 - 1: None})
        labels = {}
        if name == "omemo2":  # twomemo is older than signatures of labels
            priv = (await IdentityKeyPair.get(storage)).as_priv().priv
            sig = xeddsa.ed25519_priv_sign(priv, LABEL.encode())
            devices[0].set("label", LABEL)
            devices[0].set("labelsig", base64.b64encode(sig).decode())
            devices[1].set("label", "nobody signed this")
            labels[own] = LABEL
        write(folder, name + "-devices", devices, device.namespace)
        out[name] = {"bundle": bundle_meaning(bundle), "devices": [own, 1, 2**31 - 1], "labels": labels}
    return out


async def check(folder):
    out = {}
    for name, (backend, etree) in FORMATS.items():
        device = backend(Memory())
        bundle = etree.parse_bundle(ET.parse(os.path.join(folder, name + "-bundle.xml")).getroot(), JID, 1)
        devices = ET.parse(os.path.join(folder, name + "-devices.xml")).getroot()
        labels = signed_labels(devices, bundle.identity_key)
        devices = list(etree.parse_device_list(devices))
        out[name] = {"bundle": bundle_meaning(bundle), "devices": devices, "labels": labels}
        _, key_material = await device.encrypt_plaintext(b"hi")
        try:
            await device.build_session_active(JID, 1, bundle, key_material)
        except omemo.KeyExchangeFailed as e:
            out[name]["refused"] = str(e.__cause__)
    return out


async def meet(folder):
    out, devices = {}, {}
    for name, (backend, etree) in FORMATS.items():
        devices[name] = backend(Memory())
        await devices[name].generate_pre_keys(PRE_KEYS)
        write(folder, name + "-bundle", etree.serialize_bundle(await devices[name].get_bundle(JID, 1)), devices[name].namespace)
    print("published", flush=True)
    n = int(sys.stdin.readline())
    for name, (backend, etree) in FORMATS.items():
        out[name] = []
        for i in range(n):
            given = ET.parse(os.path.join(folder, f"{name}-given-{i}.xml")).getroot()
            sender, romeo = backend(Memory()), f"romeo{i}@montague.example"
            content, key = await sender.encrypt_plaintext(f"hello from {i}".encode())
            session, message = await sender.build_session_active(JID, 1, etree.parse_bundle(given, JID, 1), key)
            try:
                session, key = await devices[name].build_session_passive(romeo, 1, session.key_exchange, message)
                out[name].append((await devices[name].decrypt_plaintext(content, key)).decode())
                if not await devices[name].delete_pre_key(session):
                    out[name][-1] = "the pre-key was used already"
            except omemo.OMEMOException as e:
                out[name].append(repr(e))
    return out


async def talk(folder, name, jid, other):
    """The other one writes the answers with libsignal, or by itself."""
    device, etree = FORMATS[name][0](Memory()), FORMATS[name][1]
    given = ET.parse(os.path.join(folder, name + "-bundle.xml")).getroot()
    own, other, session = 1 + secrets.randbelow(2**31 - 1), int(other), None

    async def write_message(file, plain=None):
        nonlocal session
        content, key = await (device.encrypt_plaintext(plain.encode()) if plain else device.encrypt_empty())
        if session is None:
            session, material = await device.build_session_active(jid, other, etree.parse_bundle(given, jid, other), key)
        else:
            material = await device.encrypt_key_material(session, key)
        exchange = None if session.confirmed else session.key_exchange
        message = omemo.message.Message(device.namespace, JID, own, content, frozenset([(material, exchange)]))
        write(folder, file, etree.serialize_message(message), device.namespace)
        return own

    async def read(file):
        answer = ET.parse(os.path.join(folder, file + ".xml")).getroot()
        etree.MESSAGE_SCHEMA.validate(answer)
        if name == "legacy":
            octets = {e.tag.split("}")[1]: base64.b64decode(e.text or "") for e in answer.iter()}
            material = oldmemo.oldmemo.EncryptedKeyMaterialImpl.parse(octets["key"], jid, other)
            content = oldmemo.oldmemo.ContentImpl(octets["payload"], octets["iv"])
        else:
            message = etree.parse_message(answer, jid)
            ((material, exchange),), content = message.keys, message.content
            assert exchange is None and material.device_id == own and message.device_id == other
        key = await device.decrypt_key_material(session, material)
        return None if content.empty else (await device.decrypt_plaintext(content, key)).decode()

    for line in sys.stdin:
        verb, *args = line.rstrip("\n").split(" ", 2)
        print(json.dumps(await {"write": write_message, "read": read}[verb](*args)), flush=True)


command = {"make": make, "check": check, "meet": meet, "talk": talk}[sys.argv[1]]
out = asyncio.run(command(*sys.argv[2:]))
if out is not None:
    print(json.dumps(out))
