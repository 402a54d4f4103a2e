"""What the room_*.py have in common: a person who does what lines of JSON on standard
input say, and tells on standard output, as lines of JSON, what came of it and what the
person's XMPP library sees.

    {"id": 1, "do": "join", "with": {"room": "den@rooms.example", "nick": "ann"}}
    {"id": 1, "result": null}                       or  {"id": 2, "error": "forbidden"}
    {"event": "leave", "nick": "ben", "codes": [307], "reason": "noise"}

The methods of a person are what can be done. They are done one after the other."""

import asyncio
import json
import os
import sys
import traceback

lines = os.fdopen(os.dup(1), "w")
sys.stdout = sys.stderr  # slixmpp prints


def tell(**line):
    lines.write(json.dumps(line) + "\n")
    lines.flush()


def number(codes):
    return sorted(int(getattr(code, "value", code)) for code in codes)


async def obey(person, condition):
    """Does what is said until the end of the input. condition gives the name of an
    XMPP error, or None for any other exception."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        said = json.loads(line)
        try:
            result = await asyncio.wait_for(getattr(person, said["do"])(**said["with"]), 60)
            tell(id=said["id"], result=result)
        except Exception as e:
            name = condition(e)
            if name is None:
                traceback.print_exc()
            tell(id=said["id"], error=name or repr(e))
