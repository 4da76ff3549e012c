"""The short path of agents' signed requests: no sessions, cookies or languages, and a few threads that stay.

Django's ASGI handler makes a thread, and with it a database connection, for every request that touches synchronous
code, and keeps both while a long poll waits. A thousand waiting agents would be a thousand of each. Here the same code
runs on a few lasting threads, each with its lasting connection, and a waiting request holds none.

On SQLite what is short runs on one thread. A query there takes microseconds and lets go of the interpreter meanwhile; beside
another such thread it has it back after milliseconds only, 25 times in a request. A database behind a socket is worth
waiting for in several threads, and so are bytes on a disk.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.core.handlers.exception import convert_exception_to_response
from django.core.signals import request_started
from django.db import connection
from django.urls import set_script_prefix

from clientagent.wire.errors import Truncated
from fedportal.middleware import RequestIdMiddleware

PREFIX = "/api/v1/"
THREADS = 4
SHORT = frozenset({"work", "updates", "ready", "progress", "cohorts", "evaluations", "receipts"})
"""First words of the paths whose answers take milliseconds."""
SHORT_BYTES = 64 * 2**10
"""A larger body takes its time wherever it goes."""


def is_signed(scope: dict[str, Any]) -> bool:
    return scope["path"].startswith(PREFIX) and any(name == b"signature-input" for name, _ in scope["headers"])


def is_short(scope: dict[str, Any]) -> bool:
    if scope["path"].removeprefix(PREFIX).partition("/")[0] not in SHORT:
        return False
    length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return not length.isdigit() or int(length) <= SHORT_BYTES


class _SignedRequests(ASGIHandler):
    def __init__(self) -> None:
        super().__init__()
        self._threads = _in_turn(THREADS)
        self._short = _in_turn(1) if connection.vendor == "sqlite" else self._threads

    def load_middleware(self, is_async: bool = False) -> None:
        """Only the request's id; signatures stand in for the rest."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        innermost = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        self._middleware_chain = convert_exception_to_response(RequestIdMiddleware(innermost))

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        SyncToAsync.thread_sensitive_context.set(next(self._short if is_short(scope) else self._threads))
        await (self._stream if scope["method"] == "PUT" else self.handle)(scope, receive, send)

    async def _stream(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """As ``handle`` does, but the body stays on its way: ``request.incoming`` has it, piece by piece, for an async view."""
        set_script_prefix(get_script_prefix(scope))
        await request_started.asend(sender=type(self), scope=scope)
        request, response = self.create_request(scope, io.BytesIO())
        if request is not None:
            request.incoming = _incoming(receive)  # type: ignore[attr-defined]
            response = await self.run_get_response(request)
        assert response is not None
        try:
            await self.send_response(response, send)
        finally:
            await sync_to_async(response.close)()

    async def send_response(self, response: Any, send: Any) -> None:
        """With its length, as Django's middleware would have said it: else the server sends it in chunks."""
        if not response.streaming and response.status_code not in (204, 304):
            response.headers.setdefault("Content-Length", str(len(response.content)))
        await super().send_response(response, send)


def _in_turn(threads: int) -> Iterator[ThreadSensitiveContext]:
    return itertools.cycle([ThreadSensitiveContext() for _ in range(threads)])


async def _incoming(receive: Any) -> AsyncIterator[bytes]:
    """Raises ``Truncated`` when the connection breaks."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Truncated(expected="a whole body", got="a connection that broke")
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


class AgentsDoor:
    """ASGI: signed requests to the API here, everything else to ``people``."""

    def __init__(self, people: Any) -> None:
        self.people = people
        self.signed = _SignedRequests()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await (self.signed if is_signed(scope) else self.people)(scope, receive, send)
