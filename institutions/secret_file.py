"""A secret in a file: made once, whoever comes first, and readable by its owner only. No Django here: settings use it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def made_once(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes; the first of many processes writes ``make()``, complete, before anyone can read it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # fails where another process was first
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)
    return path.read_bytes()
