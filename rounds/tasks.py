"""The engine's Celery tasks. A task may be lost or run twice: the round's row and its lease decide, and the sweep looks again."""

from __future__ import annotations

import logging

from celery import shared_task

from rounds import engine

logger = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def advance_run(run_id: str) -> None:
    engine.advance(run_id)


@shared_task(ignore_result=True)
def sweep() -> None:
    """Look at every open run: deadlines, leases that ran out, hints that were lost."""
    for run_id in engine.open_runs():
        engine.advance(run_id)


def poke(run_id: str) -> None:
    """Ask a worker to look at a run. A broker that is away costs a second: the sweep comes by."""
    try:
        advance_run.delay(run_id)
    except Exception:  # kombu raises the transport's own errors
        logger.warning("the broker is away; the sweep will look", exc_info=True)
