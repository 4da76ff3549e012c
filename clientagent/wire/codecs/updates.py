"""The codecs of updates: a flat vector to a container and back. What the receiver will read, the sender knows to the bit."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.codecs import formats
from clientagent.wire.codecs.container import CHUNK, Content, largest_bytes, read_chunks, write_chunk, write_header
from clientagent.wire.errors import CodecInvalid
from clientagent.wire.plan import Compression
from clientagent.wire.tensors import Array, Layout, check_file


@dataclass(frozen=True)
class Encoded:
    """``data`` is what leaves the bank; ``sent`` (parameters,) is the vector that the portal will read out of it."""

    data: bytes
    sent: Array


def encode(flat: Array, compression: Compression, random: np.random.Generator) -> Encoded:
    """``flat`` (parameters,) as a container of the plan's codec, which is not ``none``. Raises ``NotFinite``."""
    content = _content(compression, len(flat))
    formats.require_finite(flat)
    chosen = _largest(flat, content.sent) if compression.codec == "topk" else None
    parts = [write_header(content)]
    for start in range(0, len(flat), CHUNK):
        at = slice(start, start + CHUNK)
        parts.append(write_chunk(_chunk_bytes(compression.codec, flat[at], None if chosen is None else chosen[at], random)))
    data = b"".join(parts)
    blocks = list(decode(io.BytesIO(data), compression, len(flat)))
    return Encoded(data, np.concatenate(blocks) if blocks else np.zeros(0, np.float32))


def decode(source: BinaryIO, compression: Compression, parameters: int) -> Iterator[Array]:
    """The vector in blocks of at most 2^18 values. Raises ``CodecInvalid``, ``Truncated`` and ``NotFinite``.

    Whatever was wrong is known only when the last block was taken.
    """
    content = _content(compression, parameters)
    sent = 0
    for values, raw in read_chunks(source, content, _bound(compression.codec)):
        match compression.codec:
            case "bfloat16":
                block, count = formats.bfloat16_values(raw, values), values
            case "int8":
                block, count = formats.int8_values(raw, values), values
            case _:
                block, count = formats.topk_values(raw, values)
        sent += count
        yield block
    if sent != content.sent:
        raise CodecInvalid(expected=f"{content.sent} values", got=f"{sent} values")


def decode_file(
    source: str | os.PathLike[str], compression: Compression, layout: Layout, write: Callable[[bytes], object]
) -> float:
    """Write the plain file of ``wire.tensors`` that a coded update stands for; returns the L2 norm of its vector (float64).

    Memory is flat in the model's size. Raises the refusals of ``decode``, for codec ``none`` those of ``check_file``.
    """
    if compression.codec == "none":
        norm = check_file(source, layout)
        with open(source, "rb") as file:
            while data := file.read(1 << 20):
                write(data)
        return norm
    write(layout.header)
    squares = 0.0
    with open(source, "rb") as file:
        for block in decode(file, compression, layout.parameters):
            wide = block.astype(np.float64)
            squares += float(np.sum(wide * wide))
            write(np.ascontiguousarray(block, "<f4").tobytes())
    return math.sqrt(squares)


def coded_bytes(compression: Compression, layout: Layout) -> tuple[int, int]:
    """The least and most bytes that an update may have under this codec: the door's bound on an upload."""
    if compression.codec == "none":
        return layout.file_bytes, layout.file_bytes
    return 1, largest_bytes(_content(compression, layout.parameters), _bound(compression.codec))


def kept(parameters: int, share: float) -> int:
    """How many values topk sends."""
    return min(parameters, max(1, math.ceil(share * parameters)))


def _content(compression: Compression, parameters: int) -> Content:
    if compression.codec == "none":
        raise ValueError("codec none has no container")
    sent = kept(parameters, compression.share) if compression.codec == "topk" else parameters
    return Content(compression.codec, parameters, sent)


def _bound(codec: str) -> Callable[[int], tuple[int, int]]:
    def bound(values: int) -> tuple[int, int]:
        match codec:
            case "bfloat16":
                exact = 2 * values
            case "int8":
                exact = 4 * formats.blocks_of(values) + values
            case _:
                return formats.topk_bytes_of(values, 0), formats.topk_bytes_of(values, values)
        return exact, exact

    return bound


def _chunk_bytes(codec: str, flat: Array, chosen: NDArray[np.bool_] | None, random: np.random.Generator) -> bytes:
    if chosen is not None:
        return formats.topk_bytes(flat, chosen)
    return formats.bfloat16_bytes(flat) if codec == "bfloat16" else formats.int8_bytes(flat, random)


def _largest(flat: Array, count: int) -> NDArray[np.bool_]:
    """A mask of the ``count`` values of largest size."""
    chosen = np.zeros(len(flat), bool)
    chosen[np.argpartition(np.abs(flat), len(flat) - count)[len(flat) - count :]] = True
    return chosen
