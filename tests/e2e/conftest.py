"""A real browser against the real ASGI application, in a thread of this process, on the test database.

Every test fails on any violation of the Content-Security-Policy and on any error in the page's console.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2
import pytest
import uvicorn
from django.conf import settings
from django.db import connections
from django.test import Client
from playwright.sync_api import BrowserContext, Page

from clientagent.wire.http import sign_request
from institutions.models import User
from tests.cast import Bank, make_bank
from tests.rounds.scripted import Federation
from tests.web.banks import telling_federation

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright's sync API runs a loop in this thread
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
ARGS = ["--no-sandbox", "--headless=new", "--disable-quic", "--disable-background-networking"]
EXPECTED = ("Failed to load resource", "WebSocket connection to")
"""Console errors that only tell of an answer which the test itself provoked."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e" in item.nodeid:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.django_db(transaction=True))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no chromium on this machine: apt-get install chromium"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    return {"executable_path": CHROMIUM, "args": ARGS}


@pytest.fixture(scope="session")
def portal(django_db_setup: None, scratch_data: object) -> Iterator[str]:
    """The address of the portal that answers browsers in this process."""
    from fedportal.asgi import application

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application, port=port, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        thread.join(0.02)
    assert server.started, "the portal did not start"
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def browser_context_args(portal: str) -> dict[str, object]:
    return {"base_url": portal, "viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "timezone_id": "Europe/Berlin"}


@pytest.fixture
def context(context: BrowserContext) -> BrowserContext:
    context.set_default_timeout(15_000)
    return context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that tells of everything that went wrong in it."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    yield page
    assert [text for text in wrong if not text.startswith(EXPECTED)] == []


T = TypeVar("T")
Elsewhere = Callable[[Callable[[], T]], T]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Do something in another thread: this one has Playwright's loop, in which no scripted bank can speak."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda act: pool.submit(act).result()
        pool.submit(connections.close_all).result()


class DistantBank(Bank):
    """A bank whose requests come over the network, as they do: the portal's loop is not this thread's."""

    portal: str

    def call(self, method: str, path: str, body: bytes = b"", *, content_type: str = "application/json", **_: Any) -> Any:
        signed = sign_request(
            method=method, url=f"{self.portal}{path}", body=body, key=self.key, now=dt.datetime.now(dt.UTC), seen=self.seen
        )
        headers = {**signed, "Content-Type": content_type}
        return httpx2.request(method, f"{self.portal}{path}", content=body, headers=headers, timeout=30)


@pytest.fixture
def federation(north: Bank, south: Bank, admin: User, portal: str, elsewhere: Elsewhere) -> Federation:
    """Three banks whose figures differ, proposed: nobody has spoken yet."""
    banks = [north, south, make_bank("east", by=admin)]
    distant = [DistantBank(bank.institution, bank.operator, bank.agent, bank.key) for bank in banks]
    for bank in distant:
        bank.portal = portal
    return elsewhere(lambda: telling_federation(distant, admin))


@pytest.fixture
def running(federation: Federation, elsewhere: Elsewhere) -> Federation:
    """The same, two rounds later: round 3 of 4 is open."""
    elsewhere(federation.begin)
    elsewhere(lambda: federation.round(seed=1))
    elsewhere(lambda: federation.round(seed=2))
    return federation


@pytest.fixture
def sign_in(context: BrowserContext, portal: str) -> Callable[[User], None]:
    """Sign a person in to the browser, by the session that signing in would have made."""

    def signed_in(user: User) -> None:
        client = Client()
        client.force_login(user)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie.value, "url": portal}])

    return signed_in
