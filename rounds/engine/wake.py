"""Asking a worker to look at a run. Lost or doubled, it does no harm: the rows decide, and the sweep looks every second.

Where the worker lives in this process a thread takes the run up at once; elsewhere Celery's broker carries the word.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from celery import current_app

logger = logging.getLogger(__name__)

TASK = "rounds.tasks.advance_run"
AWAY_S = 1.0


class Nearby:
    """This process's own threads for runs: one thread a run at a time, and a word that comes meanwhile is one look more."""

    of_this_process: Nearby | None = None

    def __init__(self, look: Callable[[str], None], *, threads: int) -> None:
        self._look, self._threads = look, ThreadPoolExecutor(threads, "engine")
        self._lock = threading.Lock()
        self._busy: dict[str, bool] = {}
        """Runs that a thread looks at; true: somebody asked again since it began."""

    def ask(self, run_id: str) -> None:
        with self._lock:
            is_busy = run_id in self._busy
            self._busy[run_id] = is_busy
        if not is_busy:
            self._threads.submit(self._attend, run_id)

    def _attend(self, run_id: str) -> None:
        while True:
            try:
                self._look(run_id)
            except Exception:  # the sweep tries again within a second
                logger.exception("run %s could not be moved along", run_id)
            with self._lock:
                if not self._busy.pop(run_id):
                    return
                self._busy[run_id] = False

    def stop(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Broker:
    """The way to workers elsewhere; left alone for a while after it failed, so that no request waits for it to fail again."""

    _again_at = 0.0

    def ask(self, run_id: str) -> None:
        if time.monotonic() < self._again_at:
            return
        try:
            current_app.send_task(TASK, args=[run_id], retry=False)
        except Exception:
            self._again_at = time.monotonic() + AWAY_S
            raise


_broker = _Broker()


def poke(run_id: str) -> None:
    """Who asks need not know the engine: a thread nearby is told, or the task is sent by its name."""
    try:
        (Nearby.of_this_process or _broker).ask(run_id)
    except Exception:  # kombu raises the transport's own errors
        logger.warning("nobody could be asked; the sweep will look", exc_info=True)
