"""Follows a run to its end, from the rows: what is said while it goes on, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from clientagent.wire.errors import Refusal
from institutions.models import User
from rounds.clock import is_overdue, now
from rounds.lifecycle import RUN_ENDED, RoundState, RunState
from rounds.models import Round, Run, Seat
from rounds.rehearsal.banks import Agents
from rounds.rehearsal.processes import Portal
from rounds.rehearsal.report import round_line
from rounds.services import stop_run

LOOK_EVERY_S = 0.2
OVERDUE_S = 30.0
COLLECT_S = 60.0
"""How long the banks may take to fetch the result."""


class RunFailed(Refusal):
    code = "run_failed"
    advice = "Read the reason; correct the plan or the data and start again."


class Follower:
    """Says what changed since it looked last."""

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run, self._say = run, say
        self._state, self._rounds, self._abandoned = "", 0, 0

    def look(self) -> None:
        self.run.refresh_from_db()
        rounds = Round.objects.filter(run=self.run, only_counts=False).select_related("version", "run__plan")
        for round_ in rounds.filter(state=RoundState.ABANDONED)[self._abandoned :]:
            self._abandoned += 1
            self._say(f"round {round_.number}, attempt {round_.attempt} abandoned: {round_.reason}")
        for round_ in rounds.filter(state=RoundState.PUBLISHED, number__gt=self._rounds):
            self._rounds = round_.number
            self._say(round_line(round_))
        if self.run.state != self._state:
            self._state = self.run.state
            self._say(f"run {self._state}" + (f": {self.run.reason}" if self.run.reason else ""))


def follow(run: Run, *, agents: Agents, portal: Portal, say: Callable[[str], None], user: User) -> Run:
    """Until the run has ended and the banks hold its result. Raises ``RunFailed``."""
    follower = Follower(run, say)
    while run.state not in RUN_ENDED:
        agents.look(LOOK_EVERY_S)
        follower.look()
        if not portal.is_alive:
            raise RunFailed(expected="a portal that works", got="one that has ended")
        if agents.gone:  # nothing that a rehearsal asks for ends an agent: waiting for deadlines would teach nothing
            raise RunFailed(expected="agents that work", got="; ".join(agents.gone.values()))
        if _is_overdue(run):
            raise RunFailed(expected="a portal that keeps its deadlines", got=portal.last_words)
        if run.state == RunState.PAUSED:
            stop_run(run=run, user=user, reason="nobody resumes a run of a rehearsal")
            raise RunFailed(expected="a run that finishes", got=f"one that paused: {run.reason}")
    if run.state != RunState.FINISHED:
        raise RunFailed(expected="a run that finishes", got=f"{run.state}: {run.reason}")
    _await_collection(run, agents, say)
    return run


def _is_overdue(run: Run) -> bool:
    """Whether a deadline passed long ago and nothing came of it: the engine does not move."""
    round_ = run.rounds.filter(state=RoundState.OPEN).last()
    deadline = round_.deadline_at if round_ and run.state == RunState.RUNNING else run.deadline_at
    return deadline is not None and is_overdue(deadline + timedelta(seconds=OVERDUE_S), now())


def _await_collection(run: Run, agents: Agents, say: Callable[[str], None]) -> None:
    """Every bank fetches the result, verifies it and says so."""
    until = time.monotonic() + COLLECT_S
    while waiting := _without_result(run, agents):
        if time.monotonic() > until:
            say(f"without the result: {', '.join(waiting)}")
            return
        agents.look(LOOK_EVERY_S)
    say("every bank holds the result, verified")


def _without_result(run: Run, agents: Agents) -> list[str]:
    seats = run.seats.filter(state=Seat.State.SEATED, acknowledged_at=None)
    return [slug for slug in seats.values_list("institution__slug", flat=True) if slug not in agents.gone]
