"""A worker's own look at open runs: the sweep comes over the broker, and where it does not come, rounds go on without it.

Several workers share the sweeps that beat sends, so one that has not had any for a while may just have been passed over; a
look more does no harm.
"""

from __future__ import annotations

import logging
import threading
import time

from celery import current_app
from celery.signals import task_prerun, worker_init
from django.db import close_old_connections

SWEEP = "rounds.tasks.sweep"
PATIENCE_S = 3.0
"""Without a sweep for this long, a worker sweeps by itself, each second."""
EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Lookout:
    def __init__(self) -> None:
        self._swept = time.monotonic()

    def note_sweep(self, task: object, **_: object) -> None:
        if getattr(task, "name", "") == SWEEP:
            self._swept = time.monotonic()

    def start(self, **_: object) -> None:
        threading.Thread(target=self._run, name="lookout", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(EVERY_S)
            if time.monotonic() - self._swept > PATIENCE_S:
                self._sweep()

    def _sweep(self) -> None:
        close_old_connections()
        try:
            current_app.tasks[SWEEP]()
        except Exception:  # the database may be away too
            logger.exception("the open runs could not be looked at")
        finally:
            close_old_connections()


def keep() -> None:
    """Every Celery worker of this app gets one, before it looks for its broker."""
    lookout = Lookout()
    worker_init.connect(lookout.start, weak=False)
    task_prerun.connect(lookout.note_sweep, weak=False)
