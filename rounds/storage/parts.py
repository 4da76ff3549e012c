"""Updates on their way: one file for each upload session, in which every part has its place from the start."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from clientagent.wire.errors import NotFound
from rounds.storage import blobs

BATCH = 1 << 19
"""Bytes that are hashed and written at a time."""


def folder() -> Path:
    return blobs.root() / "parts"


def path_of(upload_id: object) -> Path:
    return folder() / str(upload_id)


class PartWriter:
    """Receives one part's bytes in order, at its place in the file. ``store`` false: hashes them, and changes nothing.

    Every write holds a shared lock, and goes nowhere once the session's file was taken (``held``): bytes that come after an
    update was checked cannot change it.
    """

    def __init__(self, path: Path, descriptor: int, start: int, *, store: bool) -> None:
        self._path, self._descriptor, self._at, self._store = path, descriptor, start, store
        self.size, self._hash = 0, hashlib.sha256()

    def write(self, pieces: Sequence[bytes]) -> None:
        """The next bytes, as the network has cut them. Raises ``NotFound`` when the session is over."""
        for piece in pieces:
            self._hash.update(piece)
            self.size += len(piece)
        if self._store:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            try:
                self._require_place()
                for piece in pieces:
                    self._put(memoryview(piece))
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _put(self, view: memoryview) -> None:
        while view:  # a full disk shows as a short write first
            written = os.pwrite(self._descriptor, view, self._at)
            self._at += written
            view = view[written:]

    def _require_place(self) -> None:
        with suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == os.fstat(self._descriptor).st_ino:
                return
        raise NotFound(expected="an upload that is under way", got="one that is over")

    def sync(self) -> None:
        if self._store:
            os.fsync(self._descriptor)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def writing(upload_id: object, start: int, *, store: bool = True) -> Iterator[PartWriter]:
    """A writer for the part that begins at byte ``start`` of the session's file."""
    folder().mkdir(parents=True, exist_ok=True)
    path = path_of(upload_id)
    is_new = store and not path.exists()
    descriptor = os.open(path if store else os.devnull, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        if is_new:
            blobs.sync_folder(path.parent)
        yield PartWriter(path, descriptor, start, store=store)
    finally:
        os.close(descriptor)


@contextmanager
def held(upload_id: object) -> Iterator[Path | None]:
    """The session's file with nobody writing in it, to be checked and taken away; None where there is none."""
    path = path_of(upload_id)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield path if path.exists() else None
    finally:
        os.close(descriptor)


def forget(upload_id: object) -> None:
    path_of(upload_id).unlink(missing_ok=True)
