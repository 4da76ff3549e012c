"""An update in numbered parts: each signed and idempotent, written to its place on disk, checked when the last is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import transaction

from clientagent.wire.errors import DigestMismatch, Malformed, NotFound, Refusal, Truncated, UpdateConflict
from clientagent.wire.messages import UpdateManifest
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds import crashing
from rounds.clock import now
from rounds.models import Receipt, Upload, UploadPart
from rounds.services.masked import be_patient_with
from rounds.services.privacy import take_update_statement
from rounds.services.updates import (
    Checked,
    accept_update,
    check_manifest,
    check_numbers,
    find_participation,
    open_manifest,
    repeated,
)
from rounds.storage import blobs, parts


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


def take_privacy(*, identity: AgentIdentity, statement: Signed) -> None:
    """Book what the update costs before its first part comes, whatever becomes of it. Raises as ``take_update_statement``."""
    manifest = open_manifest(identity, statement)
    participation = find_participation(identity, manifest.run, manifest.round, manifest.attempt)
    if repeated(identity, statement, manifest, participation) is None:
        check_manifest(participation, manifest)
        take_update_statement(identity=identity, participation=participation, manifest=manifest)


def find_upload(identity: AgentIdentity, upload_id: str) -> Upload:
    upload = Upload.objects.select_related("participation__round__run__plan", "participation__round__base").filter(
        pk=upload_id, participation__institution_id=identity.institution_id
    ).first()
    if upload is None:
        raise NotFound(expected="an upload of this bank", got=upload_id)
    return upload


async def receive_part(
    *, identity: AgentIdentity, upload_id: str, number: int, chunks: AsyncIterable[bytes], digest: str
) -> Upload:
    """Keep one part as its bytes come in, in flat memory; ``digest`` is what the agent signed for them.

    The same part again changes nothing; other bytes under its number are ``UpdateConflict``. Bytes are hashed and written in
    a thread while the next are on their way, and nobody waits for a slow bank but its own request.
    """
    place = await sync_to_async(_place_of)(identity, upload_id, number)
    if place.known is not None and place.known != digest:
        raise UpdateConflict(expected=place.known, got=digest)
    with parts.writing(upload_id, place.start, store=place.known is None) as writer:
        await _write_beside(writer, chunks, size=place.size, number=number)
        if writer.size != place.size:
            raise Truncated(expected=f"{place.size} bytes in part {number}", got=f"{writer.size} bytes")
        if writer.digest != digest:
            raise DigestMismatch(expected=digest, got=writer.digest)
        await asyncio.to_thread(writer.sync)
    if place.known is None:
        crashing.reached("part:kept")
        await sync_to_async(_note_part)(place.upload, number, digest)
    return place.upload


async def _write_beside(writer: parts.PartWriter, chunks: AsyncIterable[bytes], *, size: int, number: int) -> None:
    """One batch is written in a thread while the next comes in. Returns, or raises, when no thread writes any more."""
    taken, writing = 0, None
    try:
        async for batch in _batches(chunks):
            taken += sum(map(len, batch))
            if taken > size:
                raise Truncated(expected=f"{size} bytes in part {number}", got="more")
            if writing:
                await asyncio.shield(writing)
            writing = asyncio.get_running_loop().run_in_executor(None, writer.write, batch)
        if writing:
            await asyncio.shield(writing)
    finally:
        if writing:  # the file is closed next
            await asyncio.shield(asyncio.gather(writing, return_exceptions=True))


async def _batches(chunks: AsyncIterable[bytes]) -> AsyncIterator[list[bytes]]:
    """A network's small pieces put together, so that a thread is worth its while."""
    batch, size = list[bytes](), 0
    async for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= parts.BATCH:
            yield batch
            batch, size = [], 0
    if size:
        yield batch


@dataclass(frozen=True)
class _Place:
    """Where a part belongs. ``known``: the digest of what is there already. ``size`` and ``start`` in bytes."""

    upload: Upload
    start: int
    size: int
    known: str | None


def _place_of(identity: AgentIdentity, upload_id: str, number: int) -> _Place:
    upload = find_upload(identity, upload_id)
    if not 0 <= number < upload.parts_expected:
        raise Malformed(expected=f"a part from 0 to {upload.parts_expected - 1}", got=str(number))
    known = UploadPart.objects.filter(upload=upload, number=number).values_list("digest", flat=True).first()
    return _Place(upload, *_span(upload, number), known)


def _span(upload: Upload, number: int) -> tuple[int, int]:
    """(start, size) of a part, in bytes."""
    start = number * upload.part_bytes
    return start, min(upload.part_bytes, upload.total_bytes - start)


def _note_part(upload: Upload, number: int, digest: str) -> None:
    row, _ = UploadPart.objects.get_or_create(upload=upload, number=number, defaults={"digest": digest})
    if row.digest != digest:  # two requests at once: whoever was last may have written over the other
        row.delete()
        raise UpdateConflict(expected=row.digest, got=digest)
    be_patient_with(upload.participation)
    crashing.reached("part:stored")


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
    parts.forget(upload.pk)
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
    """Check the whole and move it into the store. A part that is not what its row says is asked for again."""
    here = dict(upload.parts.values_list("number", "digest"))
    _require_parts(upload, sorted(set(range(upload.parts_expected)) - here.keys()))
    with parts.held(upload.pk) as path:
        if path is None and blobs.exists(upload.update_digest):  # a request that died had moved it already
            path = blobs.path_of(upload.update_digest)
        if path is None:
            _require_parts(upload, sorted(here))
            raise Truncated(expected=f"{manifest.update_bytes} bytes", got="none")
        digest, checked = _judge(upload, manifest, path)
        if digest != manifest.update_digest:
            _require_parts(upload, sorted(number for number, known in here.items() if _digest(upload, number) != known))
            raise DigestMismatch(expected=manifest.update_digest, got="parts that are what was sent, and make another whole")
        if isinstance(checked, Refusal):
            raise checked
        blobs.adopt(path, digest=manifest.update_digest)
    return checked


def _judge(upload: Upload, manifest: UpdateManifest, path: Path) -> tuple[str, Checked | Refusal]:
    """(digest, what is to be said of the numbers). Both look at every byte: two processors share them."""
    with ThreadPoolExecutor(1, "digest") as beside:
        hashing = beside.submit(blobs.digest_of, path)
        try:
            checked: Checked | Refusal = check_numbers(upload.participation, manifest, path)
        except Refusal as refusal:
            checked = refusal
        return hashing.result(), checked


def _digest(upload: Upload, number: int) -> str:
    return blobs.digest_of(parts.path_of(upload.pk), *_span(upload, number))


def _require_parts(upload: Upload, missing: list[int]) -> None:
    """Raises ``Truncated`` if any is missing; the session forgets these, so that it takes them again."""
    if missing:
        upload.parts.filter(number__in=missing).delete()
        raise Truncated(expected=f"{upload.parts_expected} parts", got=f"missing {', '.join(map(str, missing[:20]))}")
