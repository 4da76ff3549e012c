"""What every request gets: an id that its log lines and its answer carry, and one static header."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from audit.context import forget
from fedportal.logs import request_id

REQUEST_ID_HEADER = "X-Request-ID"


def _begin() -> str:
    name = secrets.token_hex(8)
    request_id.set(name)
    forget()
    return name


def _finish(response: HttpResponseBase, name: str) -> HttpResponseBase:
    response.headers[REQUEST_ID_HEADER] = name
    response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response


@sync_and_async_middleware
def RequestIdMiddleware(
    get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]],
) -> Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]:
    if iscoroutinefunction(get_response):

        async def handle_async(request: HttpRequest) -> HttpResponseBase:
            name = _begin()
            return _finish(await get_response(request), name)

        return handle_async

    def handle(request: HttpRequest) -> HttpResponseBase:
        name = _begin()
        return _finish(get_response(request), name)  # type: ignore[arg-type]

    return handle
