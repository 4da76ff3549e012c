"""The short path of signed requests, as a server calls it."""

from __future__ import annotations

import pytest
from asgiref.testing import ApplicationCommunicator

from fedportal.agents_door import AgentsDoor, is_short


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


@pytest.mark.parametrize(
    ("path", "length", "short"),
    [
        ("work", None, True), ("updates", b"4000", True), ("updates", b"900000", False), ("cohorts/1.2.0/messages", b"12", True),
        ("uploads/7/parts/1", b"12", False), ("models/7/3", None, False), ("worksheets", None, False), ("updates", b"x", True),
    ],
)  # fmt: skip
def test_what_is_short_is_told_by_path_and_length(path: str, length: bytes | None, short: bool):
    headers = [(b"host", b"localhost")] + ([(b"content-length", length)] if length else [])
    assert is_short({"path": f"/api/v1/{path}", "headers": headers}) is short
