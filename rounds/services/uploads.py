"""An update in numbered parts: each signed and idempotent, kept on disk, assembled when the last is there."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from django.db import transaction

from clientagent.wire.errors import DigestMismatch, Malformed, NotFound, Truncated, UpdateConflict
from clientagent.wire.messages import UpdateManifest
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds import blobs, crashing
from rounds.clock import now
from rounds.models import Receipt, Upload, UploadPart
from rounds.services.masked import be_patient_with
from rounds.services.updates import (
    Checked,
    accept_update,
    check_bytes,
    check_manifest,
    find_participation,
    open_manifest,
    repeated,
)


@transaction.atomic(durable=True)
def open_upload(*, identity: AgentIdentity, statement: Signed, part_bytes: int) -> Upload:
    """Open a session for one update, or return the one that is open for it. Everything but the bytes is checked now."""
    manifest = open_manifest(identity, statement)
    participation = find_participation(identity, manifest.run, manifest.round, manifest.attempt)
    repeated(identity, statement, manifest, participation)
    check_manifest(participation, manifest)
    upload, _ = Upload.objects.get_or_create(
        participation=participation, update_digest=manifest.update_digest,
        defaults={
            "manifest": statement.model_dump(mode="json"), "total_bytes": manifest.update_bytes, "part_bytes": part_bytes,
        },
    )
    return upload


def find_upload(identity: AgentIdentity, upload_id: str) -> Upload:
    upload = Upload.objects.select_related("participation__round__run__plan").filter(
        pk=upload_id, participation__institution_id=identity.institution_id
    ).first()
    if upload is None:
        raise NotFound(expected="an upload of this bank", got=upload_id)
    return upload


def part_path(upload: Upload, number: int) -> Path:
    return blobs.root() / "parts" / str(upload.pk) / str(number)


def store_part(*, identity: AgentIdentity, upload_id: str, number: int, data: bytes) -> Upload:
    """Keep one part. The same part again changes nothing; other bytes under its number are ``UpdateConflict``."""
    upload = find_upload(identity, upload_id)
    if not 0 <= number < upload.parts_expected:
        raise Malformed(expected=f"a part from 0 to {upload.parts_expected - 1}", got=str(number))
    last = number == upload.parts_expected - 1
    size = upload.total_bytes - number * upload.part_bytes if last else upload.part_bytes
    if len(data) != size:
        raise Truncated(expected=f"{size} bytes in part {number}", got=f"{len(data)} bytes")
    digest = hashlib.sha256(data).hexdigest()
    known = UploadPart.objects.filter(upload=upload, number=number).first()
    if known and known.digest != digest:
        raise UpdateConflict(expected=known.digest, got=digest)
    if not known:
        _write(part_path(upload, number), data)
        crashing.reached("part:kept")
        UploadPart.objects.get_or_create(upload=upload, number=number, defaults={"digest": digest})
        be_patient_with(upload.participation)
        crashing.reached("part:stored")
    return upload


def complete_upload(*, identity: AgentIdentity, upload_id: str, update_digest: str) -> Receipt:
    """Assemble, check and accept. Safe to repeat; raises ``Truncated`` naming the parts that are missing."""
    upload = find_upload(identity, upload_id)
    statement = Signed.model_validate(upload.manifest)
    manifest = open_manifest(identity, statement)
    if update_digest != upload.update_digest:
        raise DigestMismatch(expected=upload.update_digest, got=update_digest)
    receipt = repeated(identity, statement, manifest, upload.participation)
    receipt = receipt or _accept(identity, upload, statement, manifest)
    crashing.reached("parts:accepted")
    Upload.objects.filter(pk=upload.pk, completed_at=None).update(completed_at=now())
    shutil.rmtree(part_path(upload, 0).parent, ignore_errors=True)
    return receipt


def _accept(identity: AgentIdentity, upload: Upload, statement: Signed, manifest: UpdateManifest) -> Receipt:
    try:
        checked = _assemble(upload, manifest)
    except Truncated:  # or another request was first, and has cleared the parts away
        if receipt := repeated(identity, statement, manifest, upload.participation):
            return receipt
        raise
    crashing.reached("parts:assembled")
    return accept_update(
        identity=identity, participation=upload.participation, statement=statement, manifest=manifest, checked=checked
    )


def _assemble(upload: Upload, manifest: UpdateManifest) -> Checked:
    """Put the parts together in the store; returns what was found in them. A part that is not what its row says is asked for again."""
    here = dict(upload.parts.values_list("number", "digest"))
    _require_parts(upload, sorted(set(range(upload.parts_expected)) - here.keys()))
    with blobs.writing(limit=upload.total_bytes) as writer:
        for number in range(upload.parts_expected):
            writer.write(_read(upload, number))
        if writer.digest != manifest.update_digest:
            damaged = [number for number, digest in here.items() if hashlib.sha256(_read(upload, number)).hexdigest() != digest]
            _require_parts(upload, sorted(damaged))
        checked = check_bytes(upload.participation.round.run, manifest, writer)
        writer.keep(expected=manifest.update_digest)
    return checked


def _read(upload: Upload, number: int) -> bytes:
    try:
        return part_path(upload, number).read_bytes()
    except FileNotFoundError:
        _require_parts(upload, [number])
        raise


def _require_parts(upload: Upload, missing: list[int]) -> None:
    """Raises ``Truncated`` if any is missing; the session forgets these, so that it takes them again."""
    if missing:
        upload.parts.filter(number__in=missing).delete()
        raise Truncated(expected=f"{upload.parts_expected} parts", got=f"missing {', '.join(map(str, missing[:20]))}")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.{id(data)}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    blobs.sync_folder(path.parent)
