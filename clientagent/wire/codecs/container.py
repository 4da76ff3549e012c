"""The container of all codecs: a header, then chunks of at most 2^18 values, each with its lengths and zstd only where it pays.

A stranger wrote what is read here. Every length is held against what the codec can need before a byte is unpacked, a zstd frame
must state exactly the length that its chunk states, and nothing may come after the last chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import zstandard

from clientagent.wire.errors import CodecInvalid, Truncated

CHUNK = 1 << 18
"""Values in a chunk; the last one has what is left."""
MAGIC = b"FPC1"
HEADER = struct.Struct("<4sB3xQQ")
CHUNK_HEADER = struct.Struct("<BII")
LEVEL = 3
CODES = {"bfloat16": 1, "int8": 2, "topk": 3, "delta": 4}
Kind = str


@dataclass(frozen=True)
class Content:
    """What a container holds: its codec, the values of the vector, and how many of them are sent."""

    kind: Kind
    values: int
    sent: int


def write_header(content: Content) -> bytes:
    return HEADER.pack(MAGIC, CODES[content.kind], content.values, content.sent)


def write_chunk(raw: bytes) -> bytes:
    packed = zstandard.ZstdCompressor(level=LEVEL).compress(raw)
    if len(packed) < len(raw):
        return CHUNK_HEADER.pack(1, len(raw), len(packed)) + packed
    return CHUNK_HEADER.pack(0, len(raw), len(raw)) + raw


def read_chunks(source: BinaryIO, expected: Content, bound: Callable[[int], tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """(values, raw bytes) of each chunk. ``bound``: the least and most raw bytes that so many values can need.

    Raises ``CodecInvalid`` and ``Truncated``.
    """
    header = _exactly(source, HEADER.size)
    if header != write_header(expected):
        raise CodecInvalid(expected=f"a container of {_words(expected)}", got=_describe(header))
    for start in range(0, expected.values, CHUNK):
        values = min(CHUNK, expected.values - start)
        yield values, _read_chunk(source, *bound(values))
    if source.read(1):
        raise CodecInvalid(expected="nothing after the last chunk", got="more bytes")


def _read_chunk(source: BinaryIO, least: int, most: int) -> bytes:
    packed, raw_bytes, stored_bytes = CHUNK_HEADER.unpack(_exactly(source, CHUNK_HEADER.size))
    if packed not in (0, 1) or not least <= raw_bytes <= most:
        raise CodecInvalid(expected=f"a chunk of {least} to {most} bytes", got=f"{raw_bytes} bytes, marked {packed}")
    if (packed and stored_bytes >= raw_bytes) or (not packed and stored_bytes != raw_bytes):
        raise CodecInvalid(expected=f"fewer than {raw_bytes} bytes packed or as many plain", got=f"{stored_bytes} bytes")
    stored = _exactly(source, stored_bytes)
    return _unpack(stored, raw_bytes) if packed else stored


def _unpack(stored: bytes, raw_bytes: int) -> bytes:
    try:
        # A frame that states its size ignores max_output_size: it is looked at before anything is unpacked.
        stated = zstandard.get_frame_parameters(stored).content_size
        if stated != raw_bytes:
            raise CodecInvalid(expected=f"a frame of {raw_bytes} bytes", got=f"a frame that states {stated}")
        raw = zstandard.ZstdDecompressor().decompress(stored, max_output_size=raw_bytes, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CodecInvalid(expected="a whole zstd frame", got=str(error)[:200]) from error
    if len(raw) != raw_bytes:
        raise CodecInvalid(expected=f"{raw_bytes} bytes", got=f"{len(raw)} bytes")
    return raw


def largest_bytes(content: Content, bound: Callable[[int], tuple[int, int]]) -> int:
    """No container of this content is larger."""
    chunks = [min(CHUNK, content.values - start) for start in range(0, content.values, CHUNK)]
    return HEADER.size + sum(CHUNK_HEADER.size + bound(values)[1] for values in chunks)


def _exactly(source: BinaryIO, size: int) -> bytes:
    parts, left = [], size
    while left:
        part = source.read(left)
        if not part:
            raise Truncated(expected=f"{size} bytes", got=f"{size - left} bytes")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _words(content: Content) -> str:
    return f"{content.kind} with {content.sent} of {content.values} values"


def _describe(header: bytes) -> str:
    magic, code, values, sent = HEADER.unpack(header)
    kind = next((name for name, number in CODES.items() if number == code), f"codec {code}")
    return _words(Content(kind, values, sent)) if magic == MAGIC else "no container"
