"""The durable store behind the blob folder, where settings name one (``STORAGES["blobs"]``, S3-compatible): all bytes go there
before a row names them, and what the folder has lost or let go of comes back from there, held against its digest."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages

from clientagent.wire.errors import DigestMismatch

CHUNK = 1 << 20

logger = logging.getLogger(__name__)


def store() -> Storage | None:
    """None: the folder is all there is."""
    return storages["blobs"] if "blobs" in settings.STORAGES else None


def _name(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def save(digest: str, path: Path) -> None:
    """Send a whole file there; again is harmless, and makes it young. Raises what the store raises."""
    if (there := store()) is not None:
        with open(path, "rb") as file:
            there.save(_name(digest), File(file))


def fetch(digest: str, target: Path, temporary: Path) -> bool:
    """Bring the bytes of a digest to ``target``; False where the store does not have them. Raises ``DigestMismatch``."""
    there = store()
    if there is None or not there.exists(_name(digest)):
        return False
    hasher = hashlib.sha256()
    with there.open(_name(digest), "rb") as source, open(temporary, "xb") as file:
        while data := source.read(CHUNK):
            hasher.update(data)
            file.write(data)
    if hasher.hexdigest() != digest:
        raise DigestMismatch(expected=digest, got=hasher.hexdigest(), action="The object store's copy is damaged: restore it.")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(temporary, target)
    logger.info("blob %s came from the object store", digest[:16])
    return True


def exists(digest: str) -> bool:
    there = store()
    return there is not None and there.exists(_name(digest))


def stored() -> Iterator[str]:
    """All digests in the store."""
    if (there := store()) is None:
        return
    for folder in there.listdir("")[0]:
        yield from there.listdir(folder)[1]


def forget(digest: str, *, before: datetime) -> bool:
    """Remove what was saved before this moment."""
    there = store()
    if there is None or not there.exists(_name(digest)) or there.get_modified_time(_name(digest)) >= before:
        return False
    there.delete(_name(digest))
    return True
