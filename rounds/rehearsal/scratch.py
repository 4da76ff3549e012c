"""A data folder of a rehearsal's own. Settings are read at start, so the command begins again with that folder named."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.core.management.base import CommandError

from rounds.rehearsal.processes import environment

MARK = "FEDPORTAL_REHEARSAL"


def is_inside() -> bool:
    """Whether this process's database is the rehearsal's own."""
    return os.environ.get(MARK) == str(settings.FEDPORTAL_DATA_DIR)


def begin_again(folder: Path) -> NoReturn:
    """Become the same command with all data under this folder. The process stays the same, so signals reach it."""
    program = Path(sys.argv[0])
    if program.name not in ("manage.py", "django-admin", "__main__.py"):
        raise CommandError("a rehearsal starts from the command line: python manage.py simulate ...")
    sys.stdout.flush()
    sys.stderr.flush()
    folder = folder.resolve()
    os.execve(sys.executable, [sys.executable, *sys.argv], environment(folder) | {MARK: str(folder)})


def fresh_folder() -> Path:
    """A new folder for one ``simulate``."""
    return Path(tempfile.mkdtemp(prefix="fedportal-rehearsal-"))


@contextlib.contextmanager
def removed_afterwards(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
