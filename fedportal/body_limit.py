"""No request body grows beyond one upload part: Django's ASGI handler would spool all of it to disk before any view."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings

from clientagent.wire.errors import TooLarge


class BodyLimit:
    """ASGI: answers 413 as soon as a body declares or reaches more than DATA_UPLOAD_MAX_MEMORY_SIZE bytes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > limit:
            await _refuse(send, limit, declared.decode("ascii", "replace"))
            return
        seen, refused = 0, False

        async def counted() -> Any:
            nonlocal seen, refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit and not refused:
                refused = True
                await _refuse(send, limit, "more")
                return {"type": "http.disconnect"}
            return message

        await self.app(scope, counted, send)


async def _refuse(send: Any, limit: int, got: str) -> None:
    body = json.dumps(TooLarge(expected=f"at most {limit} bytes in one request", got=got[:20]).problem()).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
