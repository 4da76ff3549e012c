"""A version as its difference to one that an agent has: made when first asked for, on disk while others may ask for the same."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np

from clientagent.wire.codecs import CHUNK, delta_chunks
from clientagent.wire.tensors import Array
from rounds.storage import blobs

WORTH = 0.9
"""A difference that saves less than a tenth of the file is not sent."""
_one_at_a_time = threading.Lock()


def folder() -> Path:
    return blobs.root() / "deltas"


def between(base: str, new: str, *, parameters: int) -> Path | None:
    """The container that makes the version of digest ``new`` out of that of digest ``base``; None where it would not pay."""
    path = folder() / f"{base}-{new}"
    with _one_at_a_time:  # the banks of a round ask for the same difference at the same moment
        if not path.exists():
            _write(path, base, new, parameters)
    return path if path.stat().st_size else None


def forget(*, before: datetime) -> int:
    """Drop what nobody has asked for since; it can be made again."""
    count = 0
    for path in folder().glob("*"):
        if path.stat().st_mtime < before.timestamp():
            path.unlink(missing_ok=True)
            count += 1
    return count


def _write(path: Path, base: str, new: str, parameters: int) -> None:
    """An empty file says that the difference does not pay."""
    folder().mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{secrets.token_hex(8)}")
    limit, size = WORTH * 4 * parameters, 0
    with open(temporary, "wb") as file:
        for part in delta_chunks(parameters, _blocks(base, new, parameters)):
            size += len(part)
            if size > limit:
                file.truncate(0)
                break
            file.write(part)
    temporary.replace(path)


def _blocks(base: str, new: str, parameters: int) -> Iterator[tuple[Array, Array]]:
    with open(blobs.path_of(base), "rb") as before, open(blobs.path_of(new), "rb") as after:
        for file in (before, after):
            file.seek(-4 * parameters, 2)
        for start in range(0, parameters, CHUNK):
            size = 4 * min(CHUNK, parameters - start)
            yield np.frombuffer(before.read(size), "<f4"), np.frombuffer(after.read(size), "<f4")
