"""The only module that knows the channel layer: hints that say "look again", and who in this process waits for them.

A hint carries no data (invariant 9), so losing one costs freshness, never truth: every waiter also looks again by itself.
Each process joins the layer once and fans out locally; browsers' sockets never join a group (see docs/decisions).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

GROUP = "fedportal.hints"
MIN_INTERVAL_S = 1 / 8
"""Browsers are told at most eight times a second."""
LOOK_ANYWAY_S = 5.0
"""A watcher looks again after this long without a hint."""
LOOK_FOR_WORK_ANYWAY_S = {True: 8.0, False: 40.0}
"""Work is looked for after this long without a hint: sooner where hints come from other processes, and may be lost on the way."""

SOONEST_S = 5.0
"""No wait for work is cut shorter than this."""


def announce(run_id: Any) -> None:
    """Something about this run may have changed."""
    _send({"type": "hint", "run": str(run_id)})


def look_again(run_id: Any) -> None:
    """The watchers of this run in this process look again. Call it in the server's loop."""
    Hub.get().deliver({"run": str(run_id)})


def call_to_work(slugs: Iterable[str]) -> None:
    """There may be work for these institutions' agents."""
    _send({"type": "hint", "work": list(slugs)})


def _send(message: dict[str, Any]) -> None:
    try:
        hub = Hub.of_this_process
        if hub is not None:
            hub.loop.call_soon_threadsafe(hub.deliver, message)
            if not hub.is_shared:
                return
            asyncio.run_coroutine_threadsafe(hub.layer.group_send(GROUP, {**message, "from": hub.name}), hub.loop)
        else:
            layer = get_channel_layer()
            async_to_sync(layer.group_send)(GROUP, message)
    except Exception:  # the layer may be away; truth is in the database
        logger.warning("a hint could not be sent", exc_info=True)


class Hub:
    """This process's ear on the layer, and its local waiters."""

    of_this_process: Hub | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.layer: Any = get_channel_layer()
        self.is_shared = type(self.layer).__name__ != "InMemoryChannelLayer"
        self.name = f"{id(self)}.{time.monotonic_ns()}"
        self.runs: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.workers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.calls: dict[str, int] = defaultdict(int)
        """How often each institution was called to work."""
        self.found_nothing: dict[Any, tuple[int, float]] = {}
        """For each agent whose last look found nothing: the calls before that look, and when it was."""
        self.task: asyncio.Task[None] | None = None

    @classmethod
    def get(cls) -> Hub:
        """The hub of the running server loop; started by whoever waits first."""
        with cls._lock:
            hub = cls.of_this_process
            if hub is None or hub.loop is not asyncio.get_running_loop():
                hub = cls.of_this_process = cls()
                if hub.is_shared:
                    hub.task = hub.loop.create_task(hub._listen())
            return hub

    async def _listen(self) -> None:
        while True:
            try:
                channel = await self.layer.new_channel()
                await self.layer.group_add(GROUP, channel)
                while True:
                    message = await self.layer.receive(channel)
                    if message.get("from") != self.name:
                        self.deliver(message)
            except asyncio.CancelledError:
                raise
            except Exception:  # Redis gone and back: everybody looks again by himself meanwhile
                logger.warning("the channel layer is away; looking by time only", exc_info=True)
                await asyncio.sleep(1)

    def deliver(self, message: dict[str, Any]) -> None:
        for event in list(self.runs.get(message.get("run", ""), ())):
            event.set()
        for slug in message.get("work", ()):
            self.calls[slug] += 1
            for event in list(self.workers.get(slug, ())):
                event.set()

    @contextlib.contextmanager
    def listening(self, table: dict[str, set[asyncio.Event]], key: str):  # type: ignore[no-untyped-def]
        event = asyncio.Event()
        table[key].add(event)
        try:
            yield event
        finally:
            table[key].discard(event)
            if not table[key]:
                del table[key]


def waiting_here() -> tuple[int, int]:
    """(agents, watchers) that wait in this process."""
    hub = Hub.of_this_process
    if hub is None:
        return 0, 0
    return sum(map(len, list(hub.workers.values()))), sum(map(len, list(hub.runs.values())))


async def watch(run_id: Any) -> AsyncIterator[None]:
    """Yield at once, then whenever this run may have changed, at most eight times a second."""
    hub = Hub.get()
    with hub.listening(hub.runs, str(run_id)) as event:
        while True:
            event.clear()
            began = time.monotonic()  # what the watcher does with it counts: it is told anew as soon as the interval is over
            yield
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), LOOK_ANYWAY_S)
            await asyncio.sleep(max(0.0, MIN_INTERVAL_S - (time.monotonic() - began)))


@contextlib.contextmanager
def waiting_for_work(slug: str):  # type: ignore[no-untyped-def]
    """An event that is set when there may be work for this institution. Look once after entering, then wait."""
    hub = Hub.get()
    with hub.listening(hub.workers, slug) as event:
        yield event


class Looks:
    """When an agent that asks for work must be looked after in the database, and when nothing can have come since the last time."""

    def __init__(self, agent: Any, slug: str) -> None:
        self._hub, self._agent, self._slug = Hub.get(), agent, slug
        self._calls = 0

    def due_in_s(self) -> float:
        """0 for at once: the institution was called since, or the last look is too long ago."""
        calls, when = self._hub.found_nothing.get(self._agent, (-1, 0.0))
        if calls != self._hub.calls[self._slug]:
            return 0.0
        return max(0.0, when + LOOK_FOR_WORK_ANYWAY_S[self._hub.is_shared] - time.monotonic())

    def within_s(self, wait_s: float) -> float:
        """How long to wait of what an agent asks for. The first wait after work, or after a start of the portal, ends at a time
        of its own: agents that come together would else come together again for ever.
        """
        if self._agent in self._hub.found_nothing:
            return wait_s
        return random.uniform(min(wait_s, SOONEST_S), wait_s)

    def begin(self) -> None:
        self._calls = self._hub.calls[self._slug]

    def ended(self, *, found: bool) -> None:
        if found:
            self._hub.found_nothing.pop(self._agent, None)
        else:
            self._hub.found_nothing[self._agent] = self._calls, time.monotonic()
