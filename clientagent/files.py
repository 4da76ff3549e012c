"""How the agent puts a file on disk: whole or not at all, and there after a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from clientagent.wire.canonical import canonical, parse_json
from clientagent.wire.signing import parse

PRIVATE = 0o600
M = TypeVar("M", bound=BaseModel)


def write_atomic(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Write beside, sync, rename, sync the folder: a reader sees the old bytes or the new ones, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; the rename is durable by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_document(path: Path, document: BaseModel | dict[str, Any]) -> None:
    """A document as canonical JSON, so that equal documents are equal files."""
    write_atomic(path, canonical(document))


def read_document(path: Path, model: type[M]) -> M | None:
    """The document in a file, or None where there is no file. Raises ``Malformed`` naming the first wrong field."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse(model, parse_json(data))
