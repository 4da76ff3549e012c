"""Weights as bytes: safetensors in one canonical layout, so that equal weights have equal digests.

Layout: tensors sorted by name, little-endian float32, no gaps, no metadata. The payload after the header is therefore a
flat float32 vector that aggregation reads by ``pread`` without decoding.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.errors import NotFinite, TensorsMismatch, Truncated

Array = NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]
BLOCK = 1 << 17
"""Values that are looked at at a time: few enough to stay in a processor's cache."""
MAX_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a model lies in the flat vector."""

    shapes: Shapes

    @property
    def names(self) -> list[str]:
        return sorted(self.shapes)

    @property
    def parameters(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def header(self) -> bytes:
        entries, offset = {}, 0
        for name in self.names:
            size = 4 * math.prod(self.shapes[name])
            entries[name] = {
                "dtype": "F32", "shape": list(self.shapes[name]), "data_offsets": [offset, offset + size],
            }
            offset += size
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @property
    def file_bytes(self) -> int:
        return len(self.header) + 4 * self.parameters

    def start_of(self, name: str) -> int:
        """Where a tensor's first value lies in the flat vector."""
        before = self.names[: self.names.index(name)]
        return sum(math.prod(self.shapes[other]) for other in before)

    def offset_of(self, name: str) -> int:
        """Where a tensor's first byte lies in the file."""
        return len(self.header) + 4 * self.start_of(name)

    def flatten(self, tensors: Mapping[str, Array]) -> Array:
        """One float32 vector (parameters,). Raises ``TensorsMismatch``."""
        if set(tensors) != set(self.shapes):
            raise TensorsMismatch(expected=", ".join(self.names)[:500], got=", ".join(sorted(tensors))[:500])
        for name, shape in self.shapes.items():
            if tuple(tensors[name].shape) != shape:
                raise TensorsMismatch(expected=f"{name} of shape {shape}", got=str(tuple(tensors[name].shape)))
        parts = [np.ascontiguousarray(tensors[name], dtype="<f4").reshape(-1) for name in self.names]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def unflatten(self, flat: Array) -> dict[str, Array]:
        tensors, offset = {}, 0
        for name in self.names:
            size = math.prod(self.shapes[name])
            tensors[name] = flat[offset : offset + size].reshape(self.shapes[name])
            offset += size
        return tensors


def pack(flat: Array, layout: Layout) -> bytes:
    """The file of a flat vector (parameters,)."""
    if flat.shape != (layout.parameters,):
        raise TensorsMismatch(expected=f"{layout.parameters} values", got=str(flat.shape))
    return b"".join((layout.header, np.ascontiguousarray(flat, dtype="<f4").data))


def unpack(data: bytes, layout: Layout) -> Array:
    """The flat vector of a file, checked. Raises ``Truncated``, ``TensorsMismatch`` or ``NotFinite``."""
    _check_size(len(data), layout)
    _check_header(data[: len(layout.header)], layout)
    flat = np.frombuffer(data, dtype="<f4", offset=len(layout.header)).copy()
    _check_finite(flat)
    return flat


def check_file(path: str | os.PathLike[str], layout: Layout) -> float:
    """Check a file block by block in flat memory and return the L2 norm of its vector (float64).

    Raises ``Truncated``, ``TensorsMismatch`` or ``NotFinite``.
    """
    _check_size(os.path.getsize(path), layout)
    with open(path, "rb") as file:
        _check_header(file.read(len(layout.header)), layout)
        return _norm(_finite(_blocks(file)))


def norm_of(flat: Array) -> float:
    """The L2 norm of a vector, added up in float64 and by the same blocks as ``check_file`` does, so to the same bit."""
    return _norm(flat[start : start + BLOCK] for start in range(0, len(flat), BLOCK))


def _norm(blocks: Iterable[Array]) -> float:
    squares = 0.0
    for block in blocks:
        wide = block.astype(np.float64)
        squares += float(np.sum(wide * wide))
    return math.sqrt(squares)


def _finite(blocks: Iterable[Array]) -> Iterator[Array]:
    for block in blocks:
        _check_finite(block)
        yield block


def _blocks(file) -> Iterator[Array]:  # type: ignore[no-untyped-def]
    while data := file.read(4 * BLOCK):
        yield np.frombuffer(data, dtype="<f4")


def _check_size(size: int, layout: Layout) -> None:
    if size < layout.file_bytes:
        raise Truncated(expected=f"{layout.file_bytes} bytes", got=f"{size} bytes")
    if size > layout.file_bytes:
        raise TensorsMismatch(expected=f"{layout.file_bytes} bytes", got=f"{size} bytes")


def _check_header(header: bytes, layout: Layout) -> None:
    if header != layout.header:
        raise TensorsMismatch(expected=_shape_text(layout.shapes), got=_describe(header))


def _check_finite(block: Array) -> None:
    if not np.isfinite(block).all():
        bad = int(np.count_nonzero(~np.isfinite(block)))
        raise NotFinite(expected="finite numbers", got=f"{bad} NaN or infinite values")


def _describe(header: bytes) -> str:
    """What a stranger's header says it holds, for the error message only."""
    try:
        size = int.from_bytes(header[:8], "little")
        entries = json.loads(header[8 : 8 + min(size, MAX_HEADER_BYTES)])
        return _shape_text({name: tuple(entry["shape"]) for name, entry in entries.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "no safetensors header of this layout"


def _shape_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name}{list(shape)}" for name, shape in sorted(shapes.items()))[:500]
