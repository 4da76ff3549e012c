"""PostgreSQL and Redis for tests, started from the installed binaries and ended with them.

A test that needs one takes the fixture ``postgres`` or ``redis`` and carries the marker ``services``. Each can be killed and
started again under the same address (``kill``, ``start``), which is what the tests of lost services do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")
_PR_SET_PDEATHSIG = 1
START_S = 30.0


def binary(name: str) -> str:
    """Where a program lies; skips the test with the reason where it is missing."""
    found = shutil.which(name) or next(
        (str(path) for place in _PLACES for path in sorted(Path("/").glob(f"{place[1:]}/{name}"), reverse=True)), None
    )
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Service:
    """One server process on a port that stays the same over its lives."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def user(self) -> dict[str, object]:
        return {}

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
                preexec_fn=_die_with_parent, **self.user(),
            )
        until = time.monotonic() + START_S
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"did not start: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


class Postgres(Service):
    """A cluster in a folder of its own; the server refuses to run as root, so root hands it to an unprivileged user."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._initdb, self._postgres, self._psql = binary("initdb"), binary("postgres"), binary("psql")
        if os.geteuid() == 0:
            owner = _unprivileged()
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        arguments = ["-U", "fedportal", "-A", "trust", "-E", "UTF8", "--locale=C", "-D", str(folder / "data"), "--no-sync"]
        subprocess.run(  # type: ignore[call-overload]
            [self._initdb, *arguments], check=True, cwd=folder, capture_output=True, **self.user()
        )

    def user(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        owner = _unprivileged()
        return {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder), "max_connections": "200",
            "fsync": "off", "shared_buffers": "64MB", "timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self._postgres, "-D", str(self.folder / "data"), "-p", str(self.port), *options]

    def is_ready(self) -> bool:
        return self._ask("postgres", "select 1") == 0

    def _ask(self, database: str, statement: str) -> int:
        return subprocess.run(
            [self._psql, "-X", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "fedportal", "-d", database, "-c", statement],
            capture_output=True, check=False,
        ).returncode

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        assert self._ask("postgres", f'drop database if exists "{name}" with (force)') == 0
        assert self._ask("postgres", f'create database "{name}"') == 0
        return f"postgres://fedportal@127.0.0.1:{self.port}/{name}"


class Redis(Service):
    """Redis without persistence: what it held is gone with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = binary("redis-server")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return [self._server, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
        return False


S = TypeVar("S", bound=Service)


@contextlib.contextmanager
def running(kind: type[S]) -> Iterator[S]:
    """A service in a folder that its user may enter (pytest's own are closed to all others)."""
    folder = Path(tempfile.mkdtemp(prefix=f"fedportal-{kind.__name__.lower()}-"))
    service = None
    try:
        service = kind(folder)
        service.start()
        yield service
    finally:
        if service is not None:
            service.kill(signal.SIGQUIT if kind is Postgres else signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running(Postgres) as service:
        yield service


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with running(Redis) as service:
        yield service


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


def _die_with_parent() -> None:
    """Whatever way the tests end, no server stays behind. SIGINT is PostgreSQL's fast shutdown."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
