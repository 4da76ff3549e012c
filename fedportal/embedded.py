"""The background engine inside the server's own process: threads that wake with a run, and Celery with its beat for the sweep.

The one embedded process must be the only one: nobody else hears its broker.
"""

from __future__ import annotations

import threading

from celery.beat import EmbeddedService
from celery.worker import WorkController
from django.conf import settings

from fedportal.celery import app
from rounds.engine.wake import Nearby
from rounds.tasks import look_at

THREADS = 2
"""For runs that something happened to; the sweep has as many."""


class Engine:
    """Threads, worker and beat, started and stopped together."""

    def __init__(self) -> None:
        app.loader.import_default_modules()
        self._worker = WorkController(
            app=app, pool_cls="threads", concurrency=THREADS, loglevel="WARNING", without_gossip=True,
            without_mingle=True, without_heartbeat=True, send_events=False, quiet=True,
        )
        self._beat = EmbeddedService(app, thread=True, scheduler_cls=settings.CELERY_BEAT_SCHEDULER)
        self._nearby = Nearby(look_at, threads=THREADS)
        self._thread = threading.Thread(target=self._worker.start, name="worker", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._beat.start()
        # Celery over memory hears a task 16 to 50 ms late: a round has three, and would spend most of its time on them
        Nearby.of_this_process = self._nearby

    def stop(self) -> None:
        """Let no task begin. A task that is under way ends or dies: the rows say how to go on."""
        self._nearby.stop()
        self._beat.service.stop(wait=False)
        self._worker.stop()
