"""The body of POST updates: 4-byte big-endian length, canonical JSON of the signed UpdateManifest, the update file."""

from __future__ import annotations

from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import Truncated
from clientagent.wire.signing import Signed, parse

MAX_MANIFEST_BYTES = 4 * 2**20


def split_body(body: bytes) -> tuple[Signed, memoryview]:
    """(statement, update bytes). Raises ``Truncated`` or ``Malformed``."""
    size = int.from_bytes(body[:4], "big")
    if len(body) < 4 or size > MAX_MANIFEST_BYTES or len(body) < 4 + size:
        raise Truncated(expected="a 4-byte length, a manifest of that length and the update", got=f"{len(body)} bytes")
    statement = parse(Signed, parse_json(body[4 : 4 + size]))
    return statement, memoryview(body)[4 + size :]
