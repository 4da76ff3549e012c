"""What is backed up comes back whole, in an epoch of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from audit.selectors import head_of
from rounds.models import Update

ASK = """
import json
from audit.selectors import epoch, head_of, verify
from rounds.models import ModelVersion, Participation, Run
from rounds.storage import blobs
run = Run.objects.get()
print(json.dumps({
    "head": head_of(run.chain), "verified": verify(run.chain), "consortium": verify("consortium"), "epoch": epoch(),
    "versions": list(run.versions.values_list("digest", flat=True)),
    "blobs": all(blobs.exists(v.digest) for v in run.versions.all()),
    "orders": [p.order["document"]["epoch"] for p in Participation.objects.filter(phase="invited")],
}))
"""


def _manage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FEDPORTAL_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "fedportal.settings"}
    environment.pop("DATABASE_URL", None)
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )


@pytest.mark.django_db
def test_a_backup_restores_the_same_history_and_opens_an_epoch(running, tmp_path):
    running.round()
    running.banks[0].train(running.run, seed=5)
    call_command("backup", tmp_path / "portal.tar.gz")
    assert (tmp_path / "portal.tar.gz").stat().st_mode & 0o077 == 0

    new = tmp_path / "new"
    done = _manage(new, "restore", str(tmp_path / "portal.tar.gz"))
    assert done.returncode == 0, done.stderr
    there = json.loads(_manage(new, "shell", "-v", "0", "-c", ASK).stdout.splitlines()[-1])
    assert there["head"] == list(head_of(running.run.chain))
    assert there["verified"] == there["head"][1]
    assert there["versions"] == list(running.run.versions.values_list("digest", flat=True))
    assert there["blobs"] is True
    assert there["epoch"] == 1
    assert there["orders"] == [1, 1]
    assert Update.objects.count() == 4

    again = _manage(new, "restore", str(tmp_path / "portal.tar.gz"))
    assert again.returncode != 0
    assert "not empty" in again.stderr


@pytest.mark.django_db
def test_a_backup_overwrites_nothing(tmp_path):
    (tmp_path / "there").write_text("precious")
    with pytest.raises(CommandError, match="exists already"):
        call_command("backup", tmp_path / "there")


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00"])
def test_what_is_no_backup_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    done = _manage(tmp_path / "new", "restore", str(tmp_path / "file"))
    assert done.returncode != 0
    assert "cannot be read as a backup" in done.stderr
    assert "Traceback" not in done.stderr
