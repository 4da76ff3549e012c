"""The agent's wheel that banks install: built once from ``clientagent/`` beside the portal, or put there by hand.

FEDPORTAL_WHEEL_DIR holds one wheel and ``source``, the digest of what it was built from.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

logger = logging.getLogger(__name__)

SOURCE = Path(settings.BASE_DIR) / "clientagent"
BUILD_TIMEOUT_S = 120
LEFT_OUT = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__", ".*")


@dataclass(frozen=True)
class Wheel:
    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def agent_wheel() -> Wheel | None:
    """The wheel of the agent as it stands, building it where that is needed; None where it cannot be built."""
    folder = Path(settings.FEDPORTAL_WHEEL_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    if _is_current(folder):
        return _found(folder)
    with _locked(folder):
        if not _is_current(folder):
            try:
                _build(folder)
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stderr", None) or b""
                logger.warning("the agent's wheel could not be built: %s %s", error, output[-500:])
    return _found(folder)


def _is_current(folder: Path) -> bool:
    """A wheel without its source beside it was put there by hand, and stays."""
    if _found(folder) is None:
        return False
    mark = folder / "source"
    return not SOURCE.is_dir() or not mark.exists() or mark.read_text() == _source_digest()


def _found(folder: Path) -> Wheel | None:
    paths = sorted(folder.glob("fedagent-*.whl"), key=lambda path: path.stat().st_mtime)
    return Wheel(paths[-1], hashlib.sha256(paths[-1].read_bytes()).hexdigest()) if paths else None


def _source_digest() -> str:
    total = hashlib.sha256()
    for path in sorted([*SOURCE.rglob("*.py"), SOURCE / "pyproject.toml", SOURCE / "README.md"]):
        if path.is_file() and "build" not in path.relative_to(SOURCE).parts:
            total.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _build(folder: Path) -> None:
    """Build from a copy: setuptools leaves its working folders in the source."""
    digest = _source_digest()
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "clientagent", Path(scratch) / "out"
        shutil.copytree(SOURCE, source, ignore=LEFT_OUT)
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
             "--disable-pip-version-check", "--wheel-dir", str(out), str(source)],
            check=True, capture_output=True, timeout=BUILD_TIMEOUT_S,
            env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"},  # the same sources give the same wheel
        )  # fmt: skip
        (built,) = out.glob("*.whl")
        for old in folder.glob("fedagent-*.whl"):
            old.unlink()
        draft = folder / f".{built.name}"
        shutil.copyfile(built, draft)
        draft.rename(folder / built.name)
    (folder / "source").write_text(digest)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
