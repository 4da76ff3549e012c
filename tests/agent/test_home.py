"""The agent's directory: private, whole or not at all, and one process's at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clientagent.files import read_document, read_unsynced, write_atomic
from clientagent.home import Home, Identity
from clientagent.lock import is_held
from clientagent.wire.errors import Malformed, NotAllowed, NotEnrolled, NotFound

ROOT = Path(__file__).parents[2]


def test_the_private_key_is_made_here_and_readable_by_nobody_else(home):
    key = home.make_key()
    assert stat.S_IMODE(home.key_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
    assert Home(home.path).make_key().fingerprint == key.fingerprint


def test_a_home_without_enrolment_says_what_to_do(home):
    with pytest.raises(NotEnrolled) as refusal:
        home.require_identity()
    assert str(home.path) in refusal.value.expected
    assert "fedagent enrol" in refusal.value.action


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_an_empty_file_after_a_power_cut_is_no_head(tmp_path):
    path = tmp_path / "head.json"
    path.write_bytes(b"")
    assert read_unsynced(path, Identity) is None
    with pytest.raises(Malformed):
        read_document(path, Identity)


def test_one_agent_for_one_home(home):
    with home.locked():
        assert is_held(home.lock_path)
        code = f"from clientagent.home import Home\nwith Home({str(home.path)!r}).locked(): pass"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert f"process {os.getpid()}" in done.stderr
        with pytest.raises(NotAllowed, match=f"process {os.getpid()}"), Home(home.path).locked():
            pass
    assert not is_held(home.lock_path)


def test_a_killed_agent_leaves_no_lock_behind(home):
    code = f"""
from clientagent.home import Home
with Home({str(home.path)!r}).locked():
    print("held", flush=True)
    import time; time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    with home.locked():
        assert is_held(home.lock_path)


def test_a_name_from_the_portal_stays_in_its_folder(home):
    run = home.run("../../../etc/passwd")
    assert run.path.parent == home.path / "runs"
    with pytest.raises(Malformed):
        home.run("")


@pytest.mark.parametrize("text", ["abc", "0000000", "zzzzzzz"])
def test_an_unknown_hash_names_no_plan(home, text):
    with pytest.raises(NotFound):
        home.resolve_hash(text)
