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
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.core.exceptions import PermissionDenied
from django.http import Http404

from institutions.models import User
from rounds import live
from rounds.drawing import Drawing, View, as_text, draw
from rounds.selectors.scope import Audience, audience_of, run_for

logger = logging.getLogger(__name__)
BEAT_S = 3.0
RECHECK_S = 30.0
"""How long a revoked person may go on looking."""
MOST_OF_A_CORE = 0.25
"""The share of one processor that drawing one view may take: a slow machine gets fewer drawings, not a standstill."""
FORBIDDEN, GONE = 4403, 4404


_in_a_thread = functools.partial(database_sync_to_async, thread_sensitive=False)
"""Channels would let all sockets of a process share one thread, and the slowest view hold up the others."""


def _timed_draw(view: View, before: Drawing | None) -> tuple[Drawing, float]:
    """A drawing and the processor seconds that it took; waiting for others' work is not counted."""
    began = time.thread_time()
    return draw(view, before), time.thread_time() - began


class Channel:
    """All sockets of this process that look at the same view: one task draws, each takes the newest drawing when it can."""

    open: dict[View, Channel] = {}

    def __init__(self, view: View) -> None:
        self.view = view
        self.sockets: set[Socket] = set()
        self.latest: Drawing | None = None
        self.looked_at = time.monotonic()
        self.task = asyncio.get_running_loop().create_task(self._draw_on())

    @classmethod
    def join(cls, view: View, socket: Socket) -> Channel:
        channel = cls.open.get(view)
        if channel is None or channel.task.done():
            channel = cls.open[view] = cls(view)
        channel.sockets.add(socket)
        if channel.latest is not None:
            socket.offer(channel.latest)
        return channel

    def leave(self, socket: Socket) -> None:
        self.sockets.discard(socket)
        if not self.sockets:
            self.task.cancel()
            if self.open.get(self.view) is self:
                del self.open[self.view]

    async def _draw_on(self) -> None:
        async for _ in live.watch(self.view.run_id):
            try:
                drawing, used_s = await _in_a_thread(_timed_draw)(self.view, self.latest)
            except Http404:
                for socket in list(self.sockets):
                    await socket.close(GONE)
                return
            except Exception:  # a database away for a moment: the page says "Delayed", and the next look tries again
                logger.exception("a run could not be drawn")
                continue
            self.looked_at = time.monotonic()
            self._offer(drawing)
            await asyncio.sleep(used_s * (1 / MOST_OF_A_CORE - 1))

    def _offer(self, drawing: Drawing) -> None:
        if drawing == self.latest:
            return
        self.latest = drawing
        for socket in self.sockets:
            socket.offer(drawing)


class Socket:
    """One browser: a place for one drawing. A slow line gets fewer drawings, never older ones."""

    def __init__(
        self, send: Callable[[str], Awaitable[None]], close: Callable[[int], Awaitable[None]], charts_key: str
    ) -> None:
        self._send, self.close = send, close
        self.channel: Channel | None = None
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
        self._newest = None
        before, self.channel = self.channel, Channel.join(view, self) if view else None
        if before and before is not self.channel:
            before.leave(self)

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
