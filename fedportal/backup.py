"""A consistent copy of database, blobs and keys in one file, and back into an empty portal, on SQLite or PostgreSQL alike.

The database is read in one transaction first. Blobs are immutable and are named by rows only after they are on disk, so copying
them afterwards cannot miss one.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core import serializers
from django.core.management.base import CommandError
from django.core.management.color import no_style
from django.db import connection, models, transaction

from audit.models import Chain
from audit.services import open_epoch
from institutions.models import Institution
from rounds.models import Blob
from rounds.orders import renew_orders
from rounds.storage import blobs

FORMAT = "fedportal-backup/1"
BATCH = 500
LEFT_OUT = {"contenttypes.ContentType", "auth.Permission", "auth.Group", "sessions.Session", "audit.Chain"}
"""Made by migrations or worthless elsewhere; chains come first, by hand, because parents precede children."""
Tell = Callable[[str], None]


def write_backup(path: Path, *, tell: Tell) -> dict[str, int]:
    """Write the archive beside ``path`` and rename it into place. Returns how many rows and blobs it holds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as archive:
                rows = _write_rows(archive, tell)
                count = _write_files(archive, tell)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return {"rows": rows, "files": count}


def _write_rows(archive: tarfile.TarFile, tell: Tell) -> int:
    buffer, rows = io.BytesIO(), 0
    with transaction.atomic():
        _read_one_moment()
        for model in _models():
            for batch in _batches(model):
                buffer.write(serializers.serialize("jsonl", batch).encode())
                rows += len(batch)
        heads = {name: [seq, hash_] for name, seq, hash_ in Chain.objects.order_by("name").values_list("name", "seq", "hash")}
    tell(f"{rows} rows")
    _add(archive, "format.json", json.dumps({"format": FORMAT, "heads": heads}).encode())
    _add(archive, "rows.jsonl", buffer.getvalue())
    return rows


def _write_files(archive: tarfile.TarFile, tell: Tell) -> int:
    base, count = Path(settings.FEDPORTAL_DATA_DIR), 0
    for digest in Blob.objects.values_list("digest", flat=True).iterator():
        blobs.path_of(digest)  # what only the object store has comes back to the folder
    for folder in ("keys", "blobs"):
        for path in sorted((base / folder).rglob("*")):
            if path.is_file() and "incoming" not in path.parts:
                archive.add(path, arcname=str(path.relative_to(base)), recursive=False)
                count += 1
    tell(f"{count} files")
    return count


def read_backup(path: Path, *, tell: Tell) -> int:
    """Fill this empty portal from an archive and open a new epoch. Returns the epoch's number.

    Raises ``CommandError`` when the portal is not empty or the file is not a backup.
    """
    if Institution.objects.exists() or Chain.objects.exists():
        raise CommandError("this portal is not empty. Restore into a new FEDPORTAL_DATA_DIR and an empty, migrated database")
    try:
        with tarfile.open(path, "r:gz") as archive:
            heading = json.loads(_read(archive, "format.json"))
            if heading.get("format") != FORMAT:
                raise CommandError(f"{path} is not a backup of this version ({FORMAT})")
            _restore_files(archive, tell)
            with transaction.atomic():
                _restore_rows(_read(archive, "rows.jsonl"), heading["heads"], tell)
                epoch = open_epoch(actor="portal", reason=f"restored from {path.name}")
                renew_orders()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, KeyError) as error:
        raise CommandError(f"{path} cannot be read as a backup: {error}") from error
    return epoch.number


def _restore_rows(data: bytes, heads: dict[str, list[object]], tell: Tell) -> None:
    count = 0
    with connection.constraint_checks_disabled():
        for item in serializers.deserialize("jsonl", data.decode()):
            item.save()
            count += 1
    connection.check_constraints()
    for name, (seq, hash_) in heads.items():
        row = Chain.objects.get(name=name)
        if [row.seq, row.hash] != [seq, hash_]:
            raise ValueError(f"the chain {name} does not end where the backup says")
    _renew_sequences()
    tell(f"{count} rows restored")


def _restore_files(archive: tarfile.TarFile, tell: Tell) -> None:
    members = [member for member in archive.getmembers() if member.name.split("/")[0] in ("keys", "blobs")]
    archive.extractall(settings.FEDPORTAL_DATA_DIR, members=members, filter="data")
    for path in (Path(settings.FEDPORTAL_DATA_DIR) / "keys").iterdir():
        path.chmod(0o600)
    tell(f"{len(members)} files restored")


def _read_one_moment() -> None:
    """All reads of this transaction see one state."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def _renew_sequences() -> None:
    """PostgreSQL: rows came with their numbers, so the counters must go on after them."""
    statements = connection.ops.sequence_reset_sql(no_style(), list(_models()))
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)








def _models() -> Iterator[type[models.Model]]:
    """All tables that hold facts, referenced tables before those that refer to them."""
    yield Chain
    names = serializers.sort_dependencies([(config, None) for config in apps.get_app_configs()])
    yield from (model for model in names if model._meta.label not in LEFT_OUT and not model._meta.proxy)


def _batches(model: type[models.Model]) -> Iterator[list[models.Model]]:
    batch = []
    for row in model._default_manager.order_by("pk").iterator(BATCH):
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o600
    archive.addfile(info, io.BytesIO(data))


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()
