"""What the store may forget, and what it must not."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from audit.selectors import entries_of, verify
from rounds import services
from rounds.clock import now
from rounds.models import Blob, ModelVersion, Update
from rounds.storage import blobs

pytestmark = pytest.mark.django_db
LATER = timedelta(days=2)


def age(*digests: str) -> None:
    """Kept three days ago."""
    for digest in digests:
        os.utime(blobs.path_of(digest), (now().timestamp() - 3 * 86_400,) * 2)


def test_bytes_that_no_row_names_are_forgotten_after_the_grace_period():
    orphan = blobs.put(b"left by a process that died")
    assert services.collect(moment=now()).blobs == 0
    assert services.collect(moment=now() + LATER).blobs >= 1
    assert not blobs.exists(orphan)


def test_bytes_that_were_kept_again_meanwhile_stay():
    orphan = blobs.put(b"kept twice")
    age(orphan)
    blobs.put(b"kept twice")
    assert not blobs.forget(orphan, before=now() - timedelta(hours=24))
    assert blobs.exists(orphan)


def test_what_rows_name_stays(running):
    run = running.round()
    named = {*ModelVersion.objects.values_list("digest", flat=True), *Update.objects.values_list("digest", flat=True)}
    services.collect(moment=now() + LATER)
    assert all(blobs.exists(digest) for digest in named)
    assert set(Blob.objects.values_list("digest", flat=True)) == named
    assert run.state == "running"


def test_updates_are_forgotten_when_their_plans_retention_is_over_and_receipts_stay(federation):
    run = federation.begin()
    run = federation.finish()
    updates = set(Update.objects.values_list("digest", flat=True))
    versions = set(ModelVersion.objects.values_list("digest", flat=True))
    assert services.collect(moment=now() + timedelta(days=399)).updates == 0
    assert services.collect(moment=now() + timedelta(days=401)).updates == len(updates)
    assert not Update.objects.exclude(blob=None).exists()
    services.collect(moment=now() + timedelta(days=403))
    assert not any(blobs.exists(digest) for digest in updates - versions)
    assert all(blobs.exists(digest) for digest in versions)
    assert Update.objects.exclude(digest="").count() == len(updates)
    assert [entry.kind for entry in entries_of(run.chain)].count("updates_forgotten") == 1
    verify(run.chain)


def test_a_file_taken_aside_by_a_process_that_died_comes_back_if_a_row_names_it(running):
    digest = running.run.versions.get().digest
    aside = blobs.root() / "incoming" / f"{blobs.ASIDE}{digest}"
    aside.parent.mkdir(exist_ok=True)
    os.rename(blobs.path_of(digest), aside)
    services.collect(moment=now() + LATER)
    assert blobs.exists(digest)
    assert not aside.exists()

