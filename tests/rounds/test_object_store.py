"""Blobs in an S3-compatible store: all bytes are there, come back when the folder lost them, and leave with their rows."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest

pytest.importorskip("moto", reason="moto, which speaks S3 on loopback, is not installed")

from clientagent.wire.errors import DigestMismatch
from rounds import services
from rounds.clock import now
from rounds.models import Blob, ModelVersion, Update
from rounds.storage import blobs, remote
from tests.rounds.scripted import make_federation

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def bucket(settings, monkeypatch, tmp_path) -> Iterator[object]:
    """A bucket of an S3 server on loopback, and an empty blob folder before it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    name = f"federation-{uuid.uuid4()}"
    options = {
        "bucket_name": name, "endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1", "default_acl": None,
        "file_overwrite": True, "addressing_style": "path", "querystring_auth": False,
    }
    settings.STORAGES = {**settings.STORAGES, "blobs": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}}
    settings.FEDPORTAL_DATA_DIR = str(tmp_path)
    store = remote.store()
    store.connection.create_bucket(Bucket=name)
    try:
        yield store.bucket
    finally:
        server.stop()


def test_a_run_lives_in_the_bucket_and_goes_on_when_the_folder_is_lost(bucket, north, south, east, admin):
    federation = make_federation([north, south, east], admin)
    federation.begin()
    federation.round()
    shutil.rmtree(blobs.root())
    run = federation.finish()
    assert run.state == "finished"
    named = {*ModelVersion.objects.values_list("digest", flat=True), *Update.objects.values_list("digest", flat=True)}
    assert set(remote.stored()) == named == set(Blob.objects.values_list("digest", flat=True))


def test_bytes_that_were_changed_in_the_bucket_are_not_taken(bucket):
    digest = blobs.put(b"as it was")
    shutil.rmtree(blobs.root())
    assert blobs.path_of(digest).read_bytes() == b"as it was"
    shutil.rmtree(blobs.root())
    bucket.put_object(Key=f"{digest[:2]}/{digest}", Body=b"as it was not")
    with pytest.raises(DigestMismatch):
        blobs.path_of(digest)
    assert not (blobs.root() / digest[:2] / digest).exists()


def test_what_no_row_names_leaves_both_stores(bucket):
    orphan, only_there = blobs.put(b"left by a process that died"), blobs.put(b"and lost from the folder")
    blobs.path_of(only_there).unlink()
    services.collect(moment=now())
    assert set(remote.stored()) == {orphan, only_there}
    services.collect(moment=now() + timedelta(days=2))
    assert set(remote.stored()) == set()
    assert not blobs.exists(orphan)
