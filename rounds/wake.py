"""Asking a worker to look at a run. Lost or doubled, it does no harm: the rows decide, and the sweep looks every second.

Where the worker lives in this process a thread takes the run up at once; elsewhere Celery's broker carries the word.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from celery import current_app

logger = logging.getLogger(__name__)

TASK = "rounds.tasks.advance_run"


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


def poke(run_id: str) -> None:
    """Who asks need not know the engine: a thread nearby is told, or the task is sent by its name."""
    try:
        if Nearby.of_this_process is not None:
            Nearby.of_this_process.ask(run_id)
        else:
            current_app.send_task(TASK, args=[run_id])
    except Exception:  # kombu raises the transport's own errors
        logger.warning("nobody could be asked; the sweep will look", exc_info=True)
