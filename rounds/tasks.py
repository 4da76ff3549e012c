"""The engine's Celery tasks. A task may be lost or run twice: the round's row and its lease decide, and the sweep looks again."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import close_old_connections

from rounds import live, services
from rounds.clock import now
from rounds.engine import sharing, steps
from rounds.engine.aggregation import job_of
from rounds.engine.wake import TASK, Nearby
from rounds.lifecycle import RoundState
from rounds.models import Round, Seat
from rounds.services.updates import layout_for

logger = logging.getLogger(__name__)


def look_at(run_id: str) -> None:
    """One look at a run in a thread that is not Celery's; a pooled connection goes back when it is over."""
    close_old_connections()
    try:
        steps.advance(run_id)
    finally:
        close_old_connections()


@shared_task(name=TASK, ignore_result=True)
def advance_run(run_id: str) -> None:
    steps.advance(run_id)


@shared_task(name=sharing.TASK, ignore_result=True)
def compute_span(round_id: int, number: int, mean: str) -> None:
    """Help the worker that aggregates a round: one span of its columns, if the round still needs it."""
    round_ = Round.objects.select_related("run__plan", "base").filter(pk=round_id, state=RoundState.AGGREGATING).first()
    if round_ is not None and (folder := sharing.folder_of(round_)).exists():
        sharing.compute_span(folder, job_of(round_, layout_for(round_.run), mean=mean), number)


@shared_task(ignore_result=True)
def sweep() -> None:
    """Look at every open run: deadlines, leases that ran out, hints that were lost, moves that were made elsewhere."""
    runs = steps.open_runs()
    _call_where_moved(runs)
    for run_id in runs:
        if nearby := Nearby.of_this_process:
            nearby.ask(run_id)  # one thread a run: what takes long is not begun twice
            continue
        try:
            steps.advance(run_id)
        except Exception:  # one run's trouble is not the others'; this one is looked at again in a second
            logger.exception("run %s could not be moved along", run_id)


_seen: dict[str, str] = {}
"""States of open runs as this process's last sweep found them."""


def _call_where_moved(runs: dict[str, str]) -> None:
    """Banks that wait at this process hear of a move that another one made, as a command that proposes a run does."""
    global _seen
    moved, _seen = [run_id for run_id, state in runs.items() if _seen.get(run_id) != state], runs
    if moved:
        live.call_to_work(Seat.objects.filter(run_id__in=moved).values_list("institution__slug", flat=True))


@shared_task(ignore_result=True)
def collect() -> None:
    """Forget bytes that no row names and updates that are past their plan's retention."""
    services.collect(moment=now())
