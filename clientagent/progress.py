"""Tells the portal where the agent is, beside the work and never in its way: newest wins, at most four times a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from clientagent.wire.errors import Refusal
from clientagent.wire.messages import Progress

EVERY_S = 0.25

Watch = Callable[[Progress], None]

log = logging.getLogger("fedagent.progress")


class Reporter:
    """Call ``tell`` as often as you like. What is told within a quarter of a second of the end of the work is not sent."""

    def __init__(self, send: Watch, *, every_s: float = EVERY_S, watch: Watch | None = None) -> None:
        self._send, self._every_s, self._watch = send, every_s, watch
        self._latest: Progress | None = None
        self._told = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def tell(self, progress: Progress) -> None:
        if self._watch:
            self._watch(progress)
        self._latest = progress
        self._told.set()

    def clear(self) -> None:
        """The work is done; what was not sent is old news."""
        self._latest = None

    def end(self) -> None:
        self._ended.set()
        self._told.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while True:
            self._told.wait()
            if self._ended.wait(self._every_s):
                return
            self._told.clear()
            progress, self._latest = self._latest, None
            if progress is None:
                continue
            try:
                self._send(progress)
            except Refusal as error:
                log.debug("progress was not taken: %s", error)
