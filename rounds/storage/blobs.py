"""Bytes by their digest, on disk: synced before any row names them, never changed afterwards."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from django.conf import settings

from clientagent.wire.errors import DigestMismatch, TooLarge
from rounds import crashing
from rounds.storage import remote

CHUNK = 1 << 20
ASIDE = "aside-"
"""Begins the name of bytes on their way out of the store."""


def root() -> Path:
    return Path(settings.FEDPORTAL_DATA_DIR) / "blobs"


def path_of(digest: str) -> Path:
    """Where the bytes lie; they are brought back from the object store where this folder has lost them."""
    place = _place_of(digest)
    if remote.store() is not None and not place.exists():
        with drafting() as temporary:
            remote.fetch(digest, place, temporary)
    return place


def _place_of(digest: str) -> Path:
    return root() / digest[:2] / digest


def exists(digest: str) -> bool:
    return _place_of(digest).exists() or remote.exists(digest)


class BlobWriter:
    """Receives bytes, counts and hashes them; nothing is visible before ``keep``."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self.path, self.limit = path, limit
        self.size, self._hash = 0, hashlib.sha256()
        self._file = open(path, "xb")  # noqa: SIM115 - closed by keep or by writing()
        self.kept: str | None = None

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        if self.limit is not None and self.size > self.limit:
            raise TooLarge(expected=f"at most {self.limit} bytes", got=f"{self.size} or more")
        self._hash.update(data)
        self._file.write(data)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def keep(self, *, expected: str | None = None) -> str:
        """Sync and rename into place; returns the digest. Raises ``DigestMismatch``."""
        if expected is not None and self.digest != expected:
            raise DigestMismatch(expected=expected, got=self.digest)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        crashing.reached("blob:written")
        _take(self.path, self.digest)
        self.kept = self.digest
        return self.kept

    def close(self) -> None:
        self._file.close()
        if self.kept is None:
            self.path.unlink(missing_ok=True)

    @property
    def temporary(self) -> Path:
        """The bytes so far, for checks before ``keep``."""
        self._file.flush()
        return self.path


@contextmanager
def drafting() -> Iterator[Path]:
    """Where a file may be written in any order; it vanishes unless it was adopted."""
    path = _beside()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _beside() -> Path:
    folder = root() / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / secrets.token_hex(16)


@contextmanager
def writing(*, limit: int | None = None) -> Iterator[BlobWriter]:
    """A writer whose bytes vanish unless ``keep`` was called. ``limit`` in bytes raises ``TooLarge``."""
    writer = BlobWriter(_beside(), limit)
    try:
        yield writer
    finally:
        writer.close()


def adopt(path: Path, *, digest: str | None = None) -> str:
    """Move a finished file into the store; returns its digest, which a caller who has just computed it may name."""
    name = digest or digest_of(path)
    if path == _place_of(name):
        return name
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.utime(path)
    _take(path, name)
    return name


def _take(path: Path, digest: str) -> None:
    """Into the object store first, if there is one: what is in the folder is in both."""
    remote.save(digest, path)
    target = _place_of(digest)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
    sync_folder(target.parent)


def digest_of(path: Path, start: int = 0, size: int | None = None) -> str:
    """SHA-256 of ``size`` bytes from ``start``, or of all, as hex, in flat memory; of what is there where the file is shorter."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(start)
        left = size if size is not None else os.path.getsize(path)
        while left > 0 and (data := file.read(min(CHUNK, left))):
            hasher.update(data)
            left -= len(data)
    return hasher.hexdigest()


def put(data: bytes) -> str:
    with writing() as writer:
        writer.write(data)
        return writer.keep()


def read(digest: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes [start, end) in chunks."""
    yield from read_file(path_of(digest), start=start, end=end)


def read_file(path: Path, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes [start, end) of any file in chunks."""
    with open(path, "rb") as file:
        file.seek(start)
        left = None if end is None else end - start
        while left is None or left > 0:
            data = file.read(CHUNK if left is None else min(CHUNK, left))
            if not data:
                return
            if left is not None:
                left -= len(data)
            yield data


def stored(*, before: datetime) -> Iterator[str]:
    """Digests in the store that nobody has kept since; those of the object store, whose age ``forget`` judges, with them."""
    here = {path.name for path in root().glob("[0-9a-f][0-9a-f]/*") if _is_older(path, before)}
    yield from here
    yield from (digest for digest in remote.stored() if digest not in here)


def forget(digest: str, *, before: datetime) -> bool:
    """Remove the bytes of a digest that no row names. What was kept again meanwhile stays, whoever was first."""
    path, aside = _place_of(digest), root() / "incoming" / f"{ASIDE}{digest}"
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return remote.forget(digest, before=before)
    if _is_older(aside, before):
        remote.forget(digest, before=before)
        aside.unlink()
        return True
    put_back(aside)
    return False


def put_back(aside: Path) -> None:
    """Return to the store what ``forget`` had taken aside."""
    digest = aside.name.removeprefix(ASIDE)
    if (place := _place_of(digest)).exists():
        aside.unlink()
    else:
        os.rename(aside, place)


def leftovers(*, before: datetime) -> Iterator[Path]:
    """Files that a process which died was writing, or was taking aside."""
    yield from (path for path in (root() / "incoming").glob("*") if _is_older(path, before))


def refresh(digest: str) -> None:
    """Count the age of these bytes from now on."""
    with suppress(FileNotFoundError):
        os.utime(_place_of(digest))


def _is_older(path: Path, before: datetime) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime < before.timestamp()
    return False


def sync_folder(folder: Path) -> None:
    """So that a rename in it outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
