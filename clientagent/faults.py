"""Faults that a rehearsal asks for, read from ``FEDAGENT_FAULTS``. Only rehearsals set it; without it, nothing happens here.

The variable holds a JSON list of ``{"round": n | "all", "phase": "pulled" | "training" | "uploading" | ..., "action": ...}``:
``drop`` leaves for the rest of the round without a word, ``kill`` ends this process with SIGKILL (once for each round, so
that the restart goes on), ``slow`` makes the phase take ten times as long, ``flip`` sends the update times minus ten.
``kill`` also takes the instants of ``INSTANTS`` for its phase: where what the bank said is on disk but not sent, or answered but
the receipt not kept; with round ``all`` at the first such statement of any round.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, TypeAdapter, ValidationError

from clientagent.files import write_atomic
from clientagent.wire.errors import Malformed
from clientagent.wire.messages import Message

VARIABLE = "FEDAGENT_FAULTS"
SLOWNESS = 10
LEAST_UPLOAD_S = 0.1
"""What an upload takes at least for ``slow``, which otherwise goes by the time that the pull of the same bytes took."""
FLIP = -10.0
Phase = Literal["pulled", "training", "uploading", "keys", "shares", "masked", "unmask"]
COHORT_STATEMENTS = ("update_ready", "cohort_key", "cohort_shares", "cohort_consistency", "unmask_answer")
STATEMENTS = ("decision", "statistics_report", "update_manifest", "evaluation_report", "appraisal", "acknowledgement", *COHORT_STATEMENTS)
INSTANTS = ("pinned", *(f"{when}:{what}" for what in STATEMENTS for when in ("sending", "answered")))


def _known(phase: str) -> str:
    if phase not in get_args(Phase) + INSTANTS:
        raise ValueError(f"no phase or instant: {phase}")
    return phase


class Fault(Message):
    round: int | Literal["all"]
    phase: Annotated[str, AfterValidator(_known)]
    action: Literal["drop", "kill", "slow", "flip"]

    def hits(self, round_number: int) -> bool:
        """Round 0 is the cohort that sums statistics: only its own number names it."""
        return self.round == round_number or (self.round == "all" and round_number > 0)


class Dropped(Exception):
    """A rehearsal's bank leaves for the rest of the round."""


class Faults:
    def __init__(self, faults: list[Fault], marks: Path) -> None:
        self._faults, self._marks = faults, marks
        self._pulled_s = 0.0

    @classmethod
    def from_environment(cls, marks: Path) -> Faults:
        """Raises ``Malformed`` when the variable holds something else."""
        text = os.environ.get(VARIABLE, "")
        try:
            return cls(TypeAdapter(list[Fault]).validate_json(text) if text else [], marks)
        except ValidationError as error:
            raise Malformed(expected=f"{VARIABLE} as its documentation says", got=str(error)[:200]) from error

    @contextmanager
    def phase(self, round_number: int, phase: Phase) -> Iterator[None]:
        """Around one phase of a round's work. Raises ``Dropped``."""
        actions = {fault.action for fault in self._faults if fault.phase == phase and fault.hits(round_number)}
        if "kill" in actions:
            self._die_once(round_number, phase)
        if "drop" in actions:
            raise Dropped
        if "slow" in actions and phase == "uploading":  # before: what has arrived cannot be made late
            time.sleep((SLOWNESS - 1) * max(self._pulled_s, LEAST_UPLOAD_S))
        started = time.monotonic()
        yield
        took = time.monotonic() - started
        if phase == "pulled":
            self._pulled_s = took
        if "slow" in actions and phase != "uploading":
            time.sleep((SLOWNESS - 1) * took)

    def reached(self, instant: str, round_number: int | None = None) -> None:
        """One instant between a statement's file, its sending and its receipt; 0 is the cohort that sums statistics."""
        for fault in self._faults:
            if fault.phase == instant and fault.action == "kill" and fault.round in ("all", round_number):
                self._die_once(0 if fault.round == "all" else fault.round, instant.replace(":", "-"))

    def factor(self, round_number: int) -> float:
        """What the update is multiplied by."""
        flipped = any(fault.action == "flip" and fault.hits(round_number) for fault in self._faults)
        return FLIP if flipped else 1.0

    def _die_once(self, round_number: int, phase: str) -> None:
        mark = self._marks / f"{round_number}-{phase}"
        if not mark.exists():
            write_atomic(mark, b"")
            os.kill(os.getpid(), signal.SIGKILL)
