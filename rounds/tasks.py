"""The engine's Celery tasks. A task may be lost or run twice: the round's row and its lease decide, and the sweep looks again."""

from __future__ import annotations

import logging

from celery import shared_task

from rounds import engine
from rounds.wake import TASK

logger = logging.getLogger(__name__)


@shared_task(name=TASK, ignore_result=True)
def advance_run(run_id: str) -> None:
    engine.advance(run_id)


@shared_task(ignore_result=True)
def sweep() -> None:
    """Look at every open run: deadlines, leases that ran out, hints that were lost."""
    for run_id in engine.open_runs():
        try:
            engine.advance(run_id)
        except Exception:  # one run's trouble is not the others'; this one is looked at again in a second
            logger.exception("run %s could not be moved along", run_id)

