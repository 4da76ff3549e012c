"""A benchmark's own process on a scratch data folder, as ``simulate`` has one: a portal and banks that nobody else uses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.memory import now_kib

ROOT = Path(__file__).resolve().parent.parent
MARK = "FEDPORTAL_REHEARSAL"


def on_scratch(module: str, *argv: str) -> None:
    """Run ``python -m module argv`` with a data folder that is removed afterwards. It ends with us.

    Raises ``subprocess.CalledProcessError``.
    """
    from rounds.rehearsal.processes import die_with_parent, environment

    with tempfile.TemporaryDirectory(prefix="fedportal-rehearsal-", ignore_cleanup_errors=True) as data:
        inside = environment(Path(data)) | {MARK: str(Path(data).resolve()), "DJANGO_SETTINGS_MODULE": "fedportal.settings"}
        subprocess.run([sys.executable, "-m", module, *argv], check=True, cwd=ROOT, env=inside, preexec_fn=die_with_parent)


def folder() -> Path:
    """The scratch folder that this process was given. Raises ``KeyError`` outside of ``on_scratch``."""
    return Path(os.environ[MARK])


def set_up() -> None:
    """Django, on the scratch folder's settings."""
    import django

    folder()
    django.setup()


def forget_peak(pid: int | str = "self") -> int:
    """Let the most that a process ever held count from now on; returns what it holds now, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return now_kib(pid)
