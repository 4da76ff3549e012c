"""Where a rehearsal may kill this process: around each move of the tables, and wherever bytes meet rows or an answer leaves.

``FEDPORTAL_CRASH`` names points, divided by commas; only rehearsals set it, and without it nothing happens here. At its point
the process ends itself with SIGKILL, once: a mark in ``FEDPORTAL_DATA_DIR/crashed`` lets the restart pass. A move is named
``run:STATE:EVENT``, ``round:STATE:EVENT`` or ``cohort:STAGE:EVENT``, a participation's ``phase:PHASE``; with ``:before`` it dies inside the
transaction, with all written and nothing committed, with ``:after`` on commit, before anybody was told. The names are made
from the tables, so a new state brings its points with it, and a name that is none of them is refused.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from rounds.lifecycle import COHORT_MOVES, PHASE_MOVES, ROUND_MOVES, RUN_MOVES

VARIABLE = "FEDPORTAL_CRASH"
MOVES = (
    *(f"run:{state}:{event}" for state, event in RUN_MOVES),
    *(f"round:{state}:{event}" for state, event in ROUND_MOVES),
    *(f"cohort:{stage}:{event}" for stage, event in COHORT_MOVES),
    *(f"phase:{phase}" for phase in dict.fromkeys(to for moves in PHASE_MOVES.values() for to in moves)),
)
INSTANTS = {
    "blob:written": "a blob's bytes are synced beside, not yet renamed",
    "initial:kept": "the initial weights are in the store, no row names them",
    "update:kept": "an update's bytes are in the store, no row names them",
    "part:kept": "a part's bytes are on disk, no row names them",
    "part:stored": "a part has its row, its answer is not sent",
    "parts:assembled": "an update is whole in the store, its parts are still there, no row names it",
    "parts:accepted": "an update is accepted, its parts are still there",
    "block:computed": "one block of an aggregation is written",
    "version:kept": "the aggregated weights are in the store, no version names them",
    "cohort:formed": "a cohort has its terms, no bank was told",
    "cohort:heard": "one bank's word in a cohort has its row, its answer is not sent",
    "sum:kept": "the mean of an opened sum is in the store, no row names it",
    "answer:work": "an order was found, its answer is not sent",
    "answer:receipt": "a receipt is issued, its answer is not sent",
    "answer:model": "the first bytes of a version are sent",
}
POINTS = (*(f"{move}:{when}" for move in MOVES for when in ("before", "after")), *INSTANTS)


def moving(move: str) -> None:
    """Call it inside the transaction that makes a move: its points are just before and just after the commit."""
    if f"{move}:before" in armed():
        _before_commit(f"{move}:before")
    if f"{move}:after" in armed():
        transaction.on_commit(lambda: reached(f"{move}:after"))


def reached(point: str) -> None:
    """Die here, if a rehearsal asked for it and it has not happened yet."""
    if point in armed() and not (mark := mark_of(point)).exists():
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
        _die()


def mark_of(point: str) -> Path:
    return Path(settings.FEDPORTAL_DATA_DIR) / "crashed" / point.replace(":", "-")


@functools.cache
def armed() -> frozenset[str]:
    """The points that this process was told. Raises ``ImproperlyConfigured`` for a name that is none."""
    names = frozenset(filter(None, os.environ.get(VARIABLE, "").split(",")))
    if unknown := names - set(POINTS):
        raise ImproperlyConfigured(f"{VARIABLE} names no point: {', '.join(sorted(unknown))}")
    return names


def _before_commit(point: str) -> None:
    """Django has no hook there: for the time of this transaction the connection's own commit is another."""
    connection = transaction.get_connection()
    commit, rollback = connection._commit, connection._rollback

    def restored() -> None:
        connection.__dict__.pop("_commit", None)
        connection.__dict__.pop("_rollback", None)

    def dying() -> None:
        restored()
        reached(point)
        commit()

    def forgetting() -> None:
        restored()
        rollback()

    connection._commit, connection._rollback = dying, forgetting


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # the signal may reach another thread first
    raise AssertionError
