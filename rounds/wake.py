"""Asking a worker to look at a run. Lost or doubled, it does no harm: the rows decide, and the sweep looks every second."""

from __future__ import annotations

import logging

from celery import current_app

logger = logging.getLogger(__name__)

TASK = "rounds.tasks.advance_run"


def poke(run_id: str) -> None:
    """Send the task by its name: who asks need not know the engine."""
    try:
        current_app.send_task(TASK, args=[run_id])
    except Exception:  # kombu raises the transport's own errors
        logger.warning("the broker is away; the sweep will look", exc_info=True)
