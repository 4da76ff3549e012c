"""One agent process for each home: a lock that the operating system drops when the process dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clientagent.wire.errors import NotAllowed

if os.name == "nt":
    import msvcrt

    def _take(file: IO[str]) -> None:
        file.seek(1000)  # a byte beyond the text: a locked byte cannot be read, and the process id should be
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
else:
    import fcntl

    def _take(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock for the time of the block. Raises ``NotAllowed`` naming the process that has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+") as file:
        try:
            _take(file)
        except OSError as error:
            raise NotAllowed(
                expected=f"no other agent in {path.parent}", got=f"process {holder(path) or 'unknown'}",
                action="Stop the other agent, or use another --home.",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.seek(0)
        file.truncate()


def holder(path: Path) -> int | None:
    """The process id in the lock file; whether that process still lives is ``is_held``'s to say."""
    try:
        return int(path.read_text() or 0) or None
    except (OSError, ValueError):
        return None


def is_held(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("a+") as file:
        try:
            _take(file)
        except OSError:
            return True
    return False
