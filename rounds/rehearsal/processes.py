"""The processes of a rehearsal: started apart from the terminal's signals, stopped with us, whatever way we end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from clientagent.wire.errors import PortalUnreachable

MANAGE = Path(__file__).resolve().parent.parent.parent / "manage.py"
GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1


def start(*argv: str, log: Path, **options: object) -> subprocess.Popen[str]:
    """A child in a session of its own (Ctrl-C is ours to hand on) that dies with us; stderr goes to ``log``."""
    with log.open("a") as errors:
        return subprocess.Popen(  # type: ignore[call-overload]
            argv, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, preexec_fn=die_with_parent,
            **options,
        )


def die_with_parent() -> None:
    """For a child before it begins: it is asked to end when we do, whatever way that is (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def stop(process: subprocess.Popen[str]) -> None:
    """Ask, wait, insist."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Portal:
    """``manage.py serve`` on the data folder of this process's settings."""

    def __init__(self, *, port: int, log: Path) -> None:
        self._log = log
        self._process = start(sys.executable, str(MANAGE), "serve", "--port", str(port), log=log)
        self.url = ""

    def wait(self) -> str:
        """Its address, once it is there. Raises ``PortalUnreachable`` with its last words when it does not come up."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"fedportal is at (\S+)", line):
                self.url = found[1]
                threading.Thread(target=self._drain, daemon=True).start()
                return self.url
        raise PortalUnreachable(expected="a portal", got=last_words(self._log) or "one that ended at once")

    def _drain(self) -> None:
        """Nobody reads its output any more; a full pipe would stop it."""
        assert self._process.stdout is not None
        for _ in self._process.stdout:
            pass

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def peak_rss_mb(self) -> float | None:
        """The largest memory that it ever held (Linux: VmHWM), in MiB."""
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
            return round(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024, 1)
        return None

    @property
    def last_words(self) -> str:
        return last_words(self._log) or "nothing in its log"

    def stop(self) -> None:
        stop(self._process)


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a log, for an error message."""
    with contextlib.suppress(OSError):
        return " | ".join(log.read_text(errors="replace").strip().splitlines()[-lines:])[-600:]
    return ""


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """A request to end (as from ``timeout`` or a closed terminal) is a Ctrl-C: everything that we started stops.

    SIGINT too: a shell that is no terminal starts its background jobs with it ignored.
    """

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


ELSEWHERE = (
    "DATABASE_URL", "REDIS_URL", "BLOBS_S3_BUCKET", "SECRET_KEY", "SECURE_SSL_REDIRECT", "BEHIND_PROXY", "ALLOWED_HOSTS",
)
"""Settings of a portal that somebody uses."""


def environment(data_dir: Path) -> dict[str, str]:
    """Our environment, but with all data under this folder: a rehearsal never touches a database that somebody uses."""
    keep = {
        name: value
        for name, value in os.environ.items()
        if name not in ELSEWHERE
        and not name.startswith("FEDPORTAL_")
    }
    return keep | {"FEDPORTAL_DATA_DIR": str(data_dir), "EMAIL_URL": "dummymail://", "PYTHONUNBUFFERED": "1"}
