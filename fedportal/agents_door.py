"""The short path of agents' signed requests: no sessions, cookies or languages, and a few threads that stay.

Django's ASGI handler makes a thread, and with it a database connection, for every request that touches synchronous
code, and keeps both while a long poll waits. A thousand waiting agents would be a thousand of each. Here the same code
runs on a few lasting threads, each with its lasting connection, and a waiting request holds none.
"""

from __future__ import annotations

import itertools
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response

from fedportal.middleware import RequestIdMiddleware

PREFIX = "/api/v1/"
THREADS = 4


def is_signed(scope: dict[str, Any]) -> bool:
    return scope["path"].startswith(PREFIX) and any(name == b"signature-input" for name, _ in scope["headers"])


class _SignedRequests(ASGIHandler):
    def __init__(self) -> None:
        super().__init__()
        self._threads = itertools.cycle([ThreadSensitiveContext() for _ in range(THREADS)])

    def load_middleware(self, is_async: bool = False) -> None:
        """Only the request's id; signatures stand in for the rest."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        innermost = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]
        self._middleware_chain = convert_exception_to_response(RequestIdMiddleware(innermost))

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        SyncToAsync.thread_sensitive_context.set(next(self._threads))
        await self.handle(scope, receive, send)


class AgentsDoor:
    """ASGI: signed requests to the API here, everything else to ``people``."""

    def __init__(self, people: Any) -> None:
        self.people = people
        self.signed = _SignedRequests()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await (self.signed if is_signed(scope) else self.people)(scope, receive, send)
