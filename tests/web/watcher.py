"""A browser's socket without a browser: the ASGI messages that a server would pass."""

from __future__ import annotations

import json
from typing import Any

from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter

from rounds.routing import websocket_urlpatterns

PATIENCE_S = 10


class Watcher:
    """One person's socket to one run."""

    def __init__(self, user: Any, run: Any, query: str = "lang=en") -> None:
        scope = {
            "type": "websocket",
            "path": f"/ws/runs/{run.pk}/",
            "query_string": query.encode(),
            "headers": [],
            "subprotocols": [],
            "user": user,
        }
        self._asgi = ApplicationCommunicator(URLRouter(websocket_urlpatterns), scope)

    async def connect(self) -> int | None:
        """None when let in, else the code of the refusal."""
        await self._asgi.send_input({"type": "websocket.connect"})
        answer = await self.next_output()
        return None if answer["type"] == "websocket.accept" else answer["code"]

    async def next_output(self) -> dict[str, Any]:
        output: dict[str, Any] = await self._asgi.receive_output(PATIENCE_S)
        return output

    async def next_drawing(self) -> dict[str, Any]:
        """The next message that shows something; heartbeats are passed over."""
        while True:
            message: dict[str, Any] = json.loads((await self.next_output())["text"])
            if "html" in message:
                return message

    async def say(self, text: str) -> None:
        await self._asgi.send_input({"type": "websocket.receive", "text": text})

    async def leave(self) -> None:
        await self._asgi.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._asgi.wait(PATIENCE_S)
