"""Our end of the nursery: processes by name, how each life ended, and a supervisor that starts again what died."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from rounds.rehearsal import processes

ROOT = Path(__file__).resolve().parent.parent.parent
WAIT_S = 60.0


class Nursery:
    """Starts and watches the processes of one scratch portal."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._lives: dict[str, Life] = {}
        self._lock = threading.Lock()
        self._process = processes.start(
            sys.executable, "-m", "tests.crash.nursery", log=folder / "nursery.log", stdin=subprocess.PIPE, cwd=ROOT,
            env=dict(environment),
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def begin(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Life:
        """A new process under this name; its log is ``NAME.log``."""
        assert self._process.stdin is not None
        life = Life(name)
        with self._lock:
            self._lives[name] = life
            message = {"name": name, "argv": argv, "log": str(self.folder / f"{name}.log"), "env": dict(env or {})}
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        return life

    def stop(self) -> None:
        """End all of them, then the nursery."""
        for life in list(self._lives.values()):
            life.kill()
        processes.stop(self._process)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "pid" in message:
                self._lives[message["name"]].began(message["pid"])
            if "exit" in message:
                self._lives[message["name"]].ended(message["exit"])


class Life:
    """One process from its start to its end."""

    def __init__(self, name: str) -> None:
        self.name, self.code = name, 0
        self.pid = 0
        self._here, self._over = threading.Event(), threading.Event()
        self.endings: queue.Queue[int] = queue.Queue()

    def began(self, pid: int) -> None:
        self.pid = pid
        self._here.set()

    def ended(self, code: int) -> None:
        self.code = code
        if code < 0:
            self._kill_group()  # what it forked would otherwise live on
        self._over.set()
        self.endings.put(code)

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """Its exit code; negative: the signal."""
        assert self._over.wait(timeout_s), f"{self.name} did not end"
        return self.code

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process and all that it forked, and wait for the end."""
        assert self._here.wait(WAIT_S)
        if not self.is_over:
            self._kill_group(number)
            self.wait()

    def _kill_group(self, number: int = signal.SIGKILL) -> None:
        for kill in (os.killpg, os.kill):  # its first act is to lead a group; until then it is alone
            with contextlib.suppress(ProcessLookupError):
                return kill(self.pid, number)


@dataclass
class Supervised:
    """A process that is started again when it dies, as a service manager would, until it is taken down."""

    nursery: Nursery
    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    deaths: list[int] = field(default_factory=list)
    life: Life | None = None
    _wanted: bool = False

    def up(self) -> None:
        self._wanted = True
        self.life = self.nursery.begin(self.name, *self.argv, env=self.env)
        threading.Thread(target=self._watch, args=(self.life,), daemon=True).start()

    def down(self, number: int = signal.SIGKILL) -> None:
        """Take it down and leave it so."""
        self._wanted = False
        if self.life is not None:
            self.life.kill(number)

    def hold(self) -> None:
        """The next death is the last until ``up``."""
        self._wanted = False

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Kill it; the supervisor starts it again."""
        assert self.life is not None
        self.life.kill(number)

    def _watch(self, life: Life) -> None:
        self.deaths.append(life.endings.get())
        if self._wanted and life is self.life:
            self.up()


class Console:
    """Calls into a process that has the scratch portal's database and services, but serves nobody."""

    def __init__(self, nursery: Nursery, name: str = "console", *, points: str = "") -> None:
        address = str(nursery.folder / f"{name}.sock")
        Path(address).unlink(missing_ok=True)
        env = {"FEDPORTAL_CRASH": points}
        with Listener(address, family="AF_UNIX") as listener:
            self.life = nursery.begin(name, "console", address, env=env)
            self._line: Connection[Any, Any] = listener.accept()

    def __call__(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call ``console.VERB``. Raises what it raised, or ``EOFError`` when the process died of it."""
        self._line.send((verb, args, kwargs))
        outcome, value = self._line.recv()
        if outcome == "raised":
            raise value
        return value

    def end(self) -> None:
        self._line.close()
        self.life.kill()

