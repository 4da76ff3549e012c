"""Starts the agents of a rehearsal: imports what they need once, then forks a real ``fedagent`` process for each call.

Only rehearsals use it: eight agents on two cores would spend most of a short run on importing torch. It talks in lines of
JSON: in ``{"name", "argv", "env", "log"}``, ``{"name", "stop": true}`` or ``{"plan"}`` (what its privacy takes is imported and
solved here, for all agents after it); out ``{"name", "pid"}`` and ``{"name", "exit"}``
(negative: the signal). It ends, and its agents with it, when its standard input closes.

Forking is safe here because nothing has started a thread: torch is imported, but computes only in the children.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import sys
import time
from typing import Any, NoReturn

GRACE_S = 3.0
ORDINARY_ROWS = 10_000
"""Terms depend on rows through delta only, and below 100,000 rows not even so."""
_PR_SET_PDEATHSIG = 1


def main(*, with_torch: bool = True) -> None:
    """Serve until standard input closes."""
    _import_once(with_torch)
    Host().serve()


def _import_once(with_torch: bool) -> None:
    import clientagent.agent
    import clientagent.cli  # noqa: F401 - the import is the work

    if with_torch:
        import torch

        torch.set_num_threads(1)
        torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first optimiser imports for another two seconds


class Host:
    def __init__(self) -> None:
        self._children: dict[int, str] = {}
        self._buffer = b""
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_w, False)

    def serve(self) -> None:
        signal.set_wakeup_fd(self._wake_w)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, _leave)
        waiter = selectors.DefaultSelector()
        waiter.register(0, selectors.EVENT_READ)
        waiter.register(self._wake_r, selectors.EVENT_READ)
        self._say({"ready": True})
        try:
            while True:
                ready = {key.fd for key, _ in waiter.select()}
                if self._wake_r in ready:
                    os.read(self._wake_r, 512)
                    self._reap()
                if 0 in ready and not self._read():
                    return
        finally:
            self._end_all()

    # ------------------------------------------------------------------ talking
    def _read(self) -> bool:
        data = os.read(0, 65536)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return bool(data)

    def _say(self, message: dict[str, Any]) -> None:
        os.write(1, json.dumps(message).encode() + b"\n")

    def _obey(self, message: dict[str, Any]) -> None:
        if "plan" in message:
            _foresee(message["plan"])
            return
        if "argv" in message:
            self._fork(message)
            return
        for pid, name in self._children.items():
            if name == message["name"]:
                os.kill(pid, signal.SIGTERM)

    # ----------------------------------------------------------------- children
    def _fork(self, message: dict[str, Any]) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_agent(message)
        self._children[pid] = message["name"]
        self._say({"name": message["name"], "pid": pid})

    def _become_agent(self, message: dict[str, Any]) -> NoReturn:
        code = 1
        try:
            _take_over(message["log"], message.get("env", {}))
            from clientagent.cli import main as fedagent

            sys.argv = ["fedagent", *message["argv"]]
            code = _exit_code(fedagent)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._say({"name": self._children.pop(pid), "exit": os.waitstatus_to_exitcode(status)})

    def _end_all(self) -> None:
        signal.set_wakeup_fd(-1)
        until = time.monotonic() + GRACE_S
        for number, deadline in ((signal.SIGTERM, until), (signal.SIGKILL, until + GRACE_S)):
            for pid in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            while self._children and time.monotonic() < deadline:
                for pid in list(self._children):
                    if os.waitpid(pid, os.WNOHANG)[0]:
                        del self._children[pid]
                time.sleep(0.02)


def _foresee(document: dict[str, Any]) -> None:
    """The accountant, and the noise of a bank of ordinary size: each agent would import and solve the same for itself."""
    from clientagent.wire.errors import Refusal
    from clientagent.wire.plan import parse_plan
    from clientagent.wire.privacy.institution import institution_terms
    from clientagent.wire.privacy.terms import record_terms

    plan = parse_plan(document)
    with contextlib.suppress(Refusal):  # whatever is wrong with it, the agents will say
        if plan.privacy.record_dp is not None:
            record_terms(plan, ORDINARY_ROWS)
        if plan.privacy.institution_dp is not None:
            institution_terms(plan)


def _take_over(log: str, environment: dict[str, str]) -> None:
    """What a fresh process would have: its own log, no input, default signals, and it dies with its host."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    nothing = os.open(os.devnull, os.O_RDONLY)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    os.environ.update(environment)


def _exit_code(program: Any) -> int:
    try:
        program()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    main(with_torch="--no-torch" not in sys.argv[1:])
