"""The short path of signed requests, as a server calls it."""

from __future__ import annotations

import pytest
from asgiref.testing import ApplicationCommunicator

from fedportal.agents_door import AgentsDoor


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_an_answer_names_its_length():
    scope = {
        "type": "http", "method": "GET", "path": "/api/v1/work", "raw_path": b"/api/v1/work", "query_string": b"", "headers":
        [(b"host", b"localhost"), (b"signature-input", b"none that parses")], "client": ("127.0.0.1", 1), "server": ("localhost", 80),
    }  # fmt: skip
    door = ApplicationCommunicator(AgentsDoor(people=None), scope)
    await door.send_input({"type": "http.request", "body": b""})
    start, body = await door.receive_output(5), await door.receive_output(5)
    assert start["status"] == 401
    assert dict(start["headers"])[b"Content-Length"] == str(len(body["body"])).encode()
