"""How the agent puts a file on disk: whole or not at all, and there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from clientagent.wire.canonical import canonical, parse_json
from clientagent.wire.errors import Malformed
from clientagent.wire.signing import parse

PRIVATE = 0o600
M = TypeVar("M", bound=BaseModel)


def write_atomic(path: Path, data: bytes, *, sync: bool = True, settle: bool = True) -> None:
    """Write beside, sync, rename, sync the folder: a reader sees the old bytes or the new ones, never a part.

    ``settle=False`` leaves the folder to the next write there that settles: a power cut may take the file back, not break
    it. ``sync=False`` is for what may be lost altogether; after a power cut such a file may be empty (``read_unsynced``).
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if sync and settle:
        _sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """One more line at the end, synced. What a power cut tore off before it is ended by itself."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, PRIVATE)
    with os.fdopen(descriptor, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; the rename is durable by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_document(path: Path, document: BaseModel | dict[str, Any], *, sync: bool = True, settle: bool = True) -> None:
    """A document as canonical JSON, so that equal documents are equal files."""
    write_atomic(path, canonical(document), sync=sync, settle=settle)


def read_document(path: Path, model: type[M]) -> M | None:
    """The document in a file, or None where there is no file. Raises ``Malformed`` naming the first wrong field."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse(model, parse_json(data))


def read_unsynced(path: Path, model: type[M]) -> M | None:
    """A document that was written without sync: one that a power cut left empty is as good as none."""
    try:
        return read_document(path, model)
    except Malformed:
        return None
