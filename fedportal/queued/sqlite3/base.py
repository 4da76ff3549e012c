"""SQLite whose writers of one process wait in a queue.

SQLite lets one connection write at a time, and one that comes second sleeps: 1, 2, 5, 10 and up to 100 ms at a time, whatever
happens meanwhile. In one process with several writing threads those sleeps are most of a transaction's time. Here a thread asks
for a lock of this process before it begins, and wakes the moment that the one before it is done.

The lock is a courtesy: who does not get it in time, writes of other processes, and single statements outside of a transaction
meet SQLite's own lock as ever.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from django.db.backends.sqlite3 import base

PATIENCE_S = 5.0
"""How long to wait in the queue before SQLite is asked all the same."""
_queues: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class DatabaseWrapper(base.DatabaseWrapper):
    _turn: threading.Lock | None = None

    def _start_transaction_under_autocommit(self) -> None:
        if self.transaction_mode != "IMMEDIATE":  # type: ignore[attr-defined]
            return super()._start_transaction_under_autocommit()  # type: ignore[misc]
        queue = _queues[str(self.settings_dict["NAME"])]
        if self._turn is None and queue.acquire(timeout=PATIENCE_S):
            self._turn = queue
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._done()
            raise

    def _commit(self) -> Any:
        super()._commit()  # type: ignore[misc]
        self._done()

    def _rollback(self) -> Any:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._done()

    def _close(self) -> Any:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._done()

    def _done(self) -> None:
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.release()
