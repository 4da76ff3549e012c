"""Our end of the line to the process that starts the agents: ask for a call of ``fedagent``, hear how it ended."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clientagent.wire.errors import Refusal
from clientagent.wire.plan import Plan
from rounds.rehearsal import processes, tools


class HostLost(Refusal):
    code = "agents_lost"
    advice = "Read the log named here; the rehearsal's agents could not be started."


@dataclass(frozen=True)
class Ended:
    """A call of ``fedagent`` is over. Negative: ended by that signal."""

    name: str
    code: int


class AgentHost:
    """Forks real agent processes from one that has imported torch already."""

    def __init__(self, *, log: Path, with_torch: bool = True) -> None:
        self._log = log
        self._ended: queue.Queue[Ended | None] = queue.Queue()
        self._is_ready = False
        self._process = processes.start(
            sys.executable, "-m", "clientagent.rehearsal.host", *([] if with_torch else ["--no-torch"]), log=log,
            stdin=subprocess.PIPE, env=tools.environment(),
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def call(self, name: str, *argv: str, log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start ``fedagent argv``; ``ended`` will say ``name`` when it is over."""
        self._send({"name": name, "argv": list(argv), "log": str(log), "env": dict(env or {})})

    def foresee(self, plan: Plan) -> None:
        """Agents that are started from now on know already what this plan's privacy takes."""
        if plan.privacy.record_dp is not None or plan.privacy.institution_dp is not None:
            self._send({"plan": plan.model_dump(mode="json")})

    def ended(self, timeout_s: float = 0.0) -> Ended | None:
        """The next call that is over, if one ends within this time. Raises ``HostLost``."""
        try:
            ended = self._ended.get(timeout=timeout_s) if timeout_s else self._ended.get_nowait()
        except queue.Empty:
            return None
        if ended is None:
            raise self._lost()
        return ended

    def stop(self) -> None:
        """End all agents, then their host."""
        if not self._is_ready:  # still importing, with no agent to end: it need not finish that
            self._process.kill()
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(processes.GRACE_S + 3)
        except subprocess.TimeoutExpired:
            processes.stop(self._process)

    def _send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._lost() from error

    def _lost(self) -> HostLost:
        return HostLost(expected="a process that starts agents", got=processes.last_words(self._log))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            self._is_ready = self._is_ready or "ready" in message
            if "exit" in message:
                self._ended.put(Ended(message["name"], message["exit"]))
        self._ended.put(None)
