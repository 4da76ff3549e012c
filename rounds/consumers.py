"""Browsers' sockets: one drawing for everybody who looks at the same thing, newest wins, and a heartbeat that tells the truth."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.exceptions import PermissionDenied
from django.http import Http404

from institutions.models import User
from rounds import live
from rounds.drawing import Drawing, View, as_text, draw
from rounds.selectors.reading import read
from rounds.selectors.scope import Audience, audience_of, run_for

logger = logging.getLogger(__name__)
BEAT_S = 3.0
RECHECK_S = 30.0
"""How long a revoked person may go on looking."""
MOST_OF_A_CORE = 0.4
"""The share of one processor that drawing a run may take, for all who look: a slow machine gets fewer drawings, not a standstill."""
FORBIDDEN, GONE = 4403, 4404


_in_a_thread = functools.partial(database_sync_to_async, thread_sensitive=False)
"""Channels would let all sockets of a process share one thread, and the slowest view hold up the others."""


T = TypeVar("T")


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work made, and the processor seconds that it took; waiting for others' work is not counted."""
    began = time.thread_time()
    return work(), time.thread_time() - began


class Channel:
    """All sockets of this process that look at the same round of a run: one task reads it once and draws it for each view."""

    open: dict[tuple[uuid.UUID, int | None], Channel] = {}

    def __init__(self, scene: tuple[uuid.UUID, int | None]) -> None:
        self.scene = scene
        self.sockets: dict[View, set[Socket]] = {}
        self.latest: dict[View, Drawing] = {}
        self.looked_at = time.monotonic()
        self.task = asyncio.get_running_loop().create_task(self._draw_on())

    @classmethod
    def join(cls, view: View, socket: Socket) -> Channel:
        channel = cls.open.get(view.scene)
        if channel is None or channel.task.done():
            channel = cls.open[view.scene] = cls(view.scene)
        channel.sockets.setdefault(view, set()).add(socket)
        if view in channel.latest:
            socket.offer(channel.latest[view])
        else:
            live.look_again(view.run_id)
        return channel

    def leave(self, view: View, socket: Socket) -> None:
        sockets = self.sockets.get(view, set())
        sockets.discard(socket)
        if not sockets:
            self._forget(view)
        if not self.sockets:
            self.task.cancel()
            if self.open.get(self.scene) is self:
                del self.open[self.scene]

    def _forget(self, view: View) -> None:
        self.sockets.pop(view, None)
        self.latest.pop(view, None)

    async def _draw_on(self) -> None:
        async for _ in live.watch(self.scene[0]):
            used_s = await self._draw_all()
            await asyncio.sleep(used_s * (1 / MOST_OF_A_CORE - 1))

    async def _draw_all(self) -> float:
        """Read once, draw for each view; returns the processor seconds that it took."""
        try:
            reading, used_s = await _in_a_thread(_timed)(functools.partial(read, *self.scene))
        except Http404:
            for view in list(self.sockets):
                await self._turn_away(view)
            return 0.0
        except Exception:  # a database away for a moment: the page says "Delayed", and the next look tries again
            logger.exception("a run could not be read")
            return 0.0
        for view in list(self.sockets):
            try:
                drawing, drawn_s = await _in_a_thread(_timed)(functools.partial(draw, view, reading, self.latest.get(view)))
            except Http404:
                await self._turn_away(view)
                continue
            except Exception:
                logger.exception("a run could not be drawn")
                return used_s
            used_s += drawn_s
            self._offer(view, drawing)
        self.looked_at = time.monotonic()
        return used_s

    async def _turn_away(self, view: View) -> None:
        for socket in list(self.sockets.get(view, ())):
            await socket.close(GONE)

    def _offer(self, view: View, drawing: Drawing) -> None:
        if view not in self.sockets or drawing == self.latest.get(view):
            return
        self.latest[view] = drawing
        for socket in self.sockets[view]:
            socket.offer(drawing)


class Socket:
    """One browser: a place for one drawing. A slow line gets fewer drawings, never older ones."""

    def __init__(
        self, send: Callable[[str], Awaitable[None]], close: Callable[[int], Awaitable[None]], charts_key: str
    ) -> None:
        self._send, self.close = send, close
        self.channel: Channel | None = None
        self._view: View | None = None
        self._newest: Drawing | None = None
        self._wake = asyncio.Event()
        self._charts_key = charts_key
        self._shown: Drawing | None = None
        self._seq = 0

    def offer(self, drawing: Drawing) -> None:
        self._newest = drawing
        self._wake.set()

    async def send_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BEAT_S)
            self._wake.clear()
            drawing, self._newest = self._newest, None
            await self._send(self._message(drawing) if drawing else as_text(self._beat()))

    def look(self, view: View | None) -> None:
        """Look at something else; None leaves."""
        if view == self._view:
            return
        self._newest = None
        before, seen, self._view = self.channel, self._view, view
        self.channel = Channel.join(view, self) if view else None
        if before and seen:
            before.leave(seen, self)

    def _beat(self) -> dict[str, Any]:
        """Nothing new, and how many seconds ago that was found out."""
        return {"beat": round(time.monotonic() - self.channel.looked_at, 1) if self.channel else 0}

    def _message(self, drawing: Drawing) -> str:
        """The parts that this browser does not have yet; charts when they changed."""
        self._seq += 1
        charts = drawing.charts_key != self._charts_key
        text = drawing.text_since(self._shown, charts=charts)
        self._shown, self._charts_key = drawing, drawing.charts_key
        return f'{{"seq":{self._seq},{text}}}'


class RunConsumer(AsyncWebsocketConsumer):
    """A browser that watches a run. It may say ``{"round": n}`` to look at a past round, ``{"round": null}`` to follow."""

    socket: Socket | None = None
    tasks: tuple[asyncio.Task[None], ...] = ()

    async def connect(self) -> None:
        self.run_id: uuid.UUID = self.scope["url_route"]["kwargs"]["run_id"]
        self.query = parse_qs(self.scope["query_string"].decode("latin-1"))
        try:
            self.audience = await _in_a_thread(self._admit)()
        except (PermissionDenied, Http404):
            await self.close(FORBIDDEN)
            return
        await self.accept()
        self.socket = Socket(lambda text: self.send(text_data=text), self.close, self._asked("charts"))
        self._look(self._asked("round"))
        loop = asyncio.get_running_loop()
        self.tasks = (loop.create_task(self.socket.send_on()), loop.create_task(self._recheck()))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            number = json.loads(text_data or "")["round"]
        except (ValueError, KeyError, TypeError):
            return  # a browser of ours never says anything else
        if isinstance(number, str) and (number == "" or (number.isdecimal() and len(number) < 8)):
            self._look(number)

    async def disconnect(self, code: int) -> None:
        for task in self.tasks:
            task.cancel()
        if self.socket:
            self.socket.look(None)

    def _asked(self, name: str) -> str:
        return self.query.get(name, [""])[0][:64]

    def _look(self, number: str) -> None:
        round_number = int(number) if number.isdecimal() and len(number) < 8 else None
        language = "zh-hans" if self._asked("lang") == "zh-hans" else "en"
        assert self.socket is not None
        self.socket.look(View(self.run_id, self.audience, language, round_number))

    def _admit(self) -> Audience:
        """Read the person anew: a socket lives long, and a seat may be taken away meanwhile."""
        user = User.objects.filter(pk=self.scope["user"].pk or 0).first()
        audience = audience_of(user)
        run_for(audience, self.run_id)
        return audience

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_S)
            try:
                if await _in_a_thread(self._admit)() != self.audience:
                    raise PermissionDenied
            except (PermissionDenied, Http404):
                await self.close(FORBIDDEN)
                return
