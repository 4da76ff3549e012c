"""What the store forgets: bytes that no row names, after a grace period, and updates that are older than their plan keeps them.

Bytes come into the store before the row that names them, so what a dead process left there looks like what a living one is
about to name: the grace period tells them apart.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from rounds.lifecycle import RUN_ENDED, RoundState
from rounds.models import Blob, Round, Run, Update, Upload
from rounds.services.moves import lock_run, record
from rounds.storage import blobs, deltas, parts

GRACE = timedelta(hours=24)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collected:
    """How much was forgotten."""

    updates: int
    uploads: int
    blobs: int


def collect(*, moment: datetime, grace: timedelta = GRACE) -> Collected:
    """Forget what may be forgotten. Safe at any time, beside everything else, and when killed half-way."""
    before = moment - grace
    updates = sum(forget_updates(run=run, moment=moment) for run in _ended_runs())
    uploads = _forget_uploads(before)
    _forget_spans(before)
    found = Collected(updates, uploads, _forget_blobs(before) + deltas.forget(before=before))
    if any((found.updates, found.uploads, found.blobs)):
        logger.info("forgot %d updates, %d uploads, %d blobs", found.updates, found.uploads, found.blobs)
    return found


# ------------------------------------------------------------------------ updates
def _ended_runs() -> QuerySet[Run]:
    kept = Update.objects.filter(participation__round__run=OuterRef("pk"), blob__isnull=False)
    return Run.objects.select_related("plan").filter(Exists(kept), state__in=RUN_ENDED, ended_at__isnull=False)


@transaction.atomic(durable=True)
def forget_updates(*, run: Run, moment: datetime) -> int:
    """Let go of a run's updates once the plan's retention is over; their manifests, digests and receipts stay."""
    days = run.plan.document.retention.updates_days
    if run.ended_at is None or moment < run.ended_at + timedelta(days=days):
        return 0
    run = lock_run(run.pk)
    kept = Update.objects.filter(participation__round__run=run, blob__isnull=False)
    digests = {digest for pair in kept.values_list("blob_id", "decoded_id") for digest in pair if digest}
    for digest in digests:
        blobs.refresh(digest)  # a backup under way may still be copying what its rows name
    count = kept.update(blob=None, decoded=None)
    Round.objects.filter(run=run).exclude(noise_key="").update(noise=None, noise_key="")
    if count:
        record(run, "updates_forgotten", {"updates": count, "retention_days": days})
    return count


# ------------------------------------------------------------------------ uploads
def _forget_uploads(before: datetime) -> int:
    """Parts of sessions that are complete, or that nobody can complete any more."""
    over = Q(completed_at__isnull=False) | ~Q(participation__round__state=RoundState.OPEN)
    count = 0
    for path in parts.folder().glob("*"):
        if path.stat().st_mtime >= before.timestamp():
            continue
        upload = Upload.objects.filter(pk=path.name) if len(path.name) == 36 else Upload.objects.none()
        if not upload.exists() or upload.filter(over).exists():
            count += _forget_parts(path, upload.first())
    return count


def _forget_parts(path: Path, upload: Upload | None) -> int:
    """First the rows, so that a bank which is back after all is asked for its parts again."""
    if upload is not None and upload.completed_at is None:
        upload.parts.all().delete()
    path.unlink(missing_ok=True)
    return 1


def _forget_spans(before: datetime) -> None:
    """What workers computed of aggregations that another worker ended."""
    for folder in (blobs.root() / "spans").glob("*"):
        if folder.stat().st_mtime < before.timestamp():
            shutil.rmtree(folder, ignore_errors=True)


# -------------------------------------------------------------------------- blobs
def _forget_blobs(before: datetime) -> int:
    _settle_leftovers(before)
    for row in _unnamed().filter(created_at__lt=before):
        try:
            with transaction.atomic():
                row.delete()
        except IntegrityError:  # somebody has just named it
            continue
    return sum(blobs.forget(digest, before=before) for digest in blobs.stored(before=before) if not _is_named(digest))


def _unnamed() -> QuerySet[Blob]:
    """Blob rows to which no other row points."""
    rows = Blob.objects.all()
    for relation in Blob._meta.related_objects:
        pointing = relation.related_model._default_manager.filter(**{relation.field.name: OuterRef("pk")})
        rows = rows.exclude(Exists(pointing))
    return rows


def _is_named(digest: str) -> bool:
    return Blob.objects.filter(pk=digest).exists()


def _settle_leftovers(before: datetime) -> None:
    for path in blobs.leftovers(before=before):
        if path.name.startswith(blobs.ASIDE) and _is_named(path.name.removeprefix(blobs.ASIDE)):
            blobs.put_back(path)
        else:
            path.unlink(missing_ok=True)
