"""Every address of the site x every reader: who may open it, who may send to it, and who is turned away how."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from audit.models import Entry
from institutions.models import User
from tests.access_table import OTHER, OWN, ROOMS, STRANGER, TABLE, Access, Cast, Reader
from tests.cast import Bank, browser


def names(resolver: URLResolver, prefix: str = "") -> Iterator[str]:
    """Every URL of the site by its full name."""
    for item in resolver.url_patterns:
        if isinstance(item, URLResolver):
            yield from names(item, f"{prefix}{item.namespace}:" if item.namespace else prefix)
        elif isinstance(item, URLPattern):
            yield f"{prefix}{item.name}"


@pytest.fixture
def cast(north: Bank, south: Bank, admin: User, auditor: User) -> Cast:
    return Cast(north, south, admin, auditor)


@pytest.fixture(autouse=True)
def _no_limits(settings) -> None:  # type: ignore[no-untyped-def]
    """Five readers knock at the same door in one breath."""
    settings.ACCOUNT_RATE_LIMITS = False


def test_every_address_is_in_the_table() -> None:
    missing = sorted(set(names(get_resolver(settings.ROOT_URLCONF))) - set(TABLE))
    assert missing == [], "declare them in tests/access_table.py"


def test_the_table_holds_no_address_that_is_gone() -> None:
    assert sorted(set(TABLE) - set(names(get_resolver(settings.ROOT_URLCONF)))) == []


def is_let_in(response: HttpResponse) -> bool:
    to_sign_in = response.status_code == 302 and response["Location"].startswith(reverse("account_login"))
    return response.status_code < 400 and not to_sign_in


def wrongly_opened(cast: Cast, table: dict[str, Access], browsers: dict[Reader, Client]) -> Iterator[str]:
    """One sentence for each reader who is let in or turned away against the table."""
    for name, access in table.items():
        address = reverse(name, kwargs=access.args(cast))
        for reader, client in browsers.items():
            response = client.get(address)
            got = f"{reader} at {name}: {response.status_code}"
            if response.status_code >= 500 or is_let_in(response) != (reader in access.get):
                yield got
            elif reader == OTHER and OWN in access.get and OTHER not in access.get and response.status_code != 404:
                yield f"{got}: another bank learns that it is there"


def wrongly_accepted(cast: Cast, table: dict[str, Access], browsers: dict[Reader, Client]) -> Iterator[str]:
    for name, access in table.items():
        address = reverse(name, kwargs=access.args(cast))
        before = Entry.objects.count()
        for reader in set(Reader) - access.post:
            response = browsers[reader].post(address, {"reason": "a reason", "fingerprint": "0" * 64})
            if response.status_code >= 500 or is_let_in(response):
                yield f"{reader} sends to {name}: {response.status_code}"
        if Entry.objects.count() != before:
            yield f"something happened at {name}"


@pytest.fixture
def browsers(cast: Cast) -> dict[Reader, Client]:
    found = {reader: browser(cast.user(reader)) for reader in Reader}
    for client in found.values():
        client.raise_request_exception = False  # a fault of ours is a 500 and a line of the list
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_who_may_open_what(room: str, cast: Cast, browsers: dict[Reader, Client]) -> None:
    assert list(wrongly_opened(cast, ROOMS[room], browsers)) == []


@pytest.mark.parametrize("room", ROOMS)
def test_whoever_may_not_send_is_turned_away_before_anything_happens(
    room: str, cast: Cast, browsers: dict[Reader, Client]
) -> None:
    assert list(wrongly_accepted(cast, ROOMS[room], browsers)) == []


def test_a_person_without_a_seat_opens_nothing(cast: Cast) -> None:
    nobody = User.objects.make(email="nobody@example.com", password=None)
    for name, access in TABLE.items():
        if STRANGER in access.get or name.startswith(("mfa_", "account_", "api-docs", "api-schema")):
            continue
        response = browser(nobody).get(reverse(name, kwargs=access.args(cast)))
        assert response.status_code in (401, 403, 404, 405), f"{name}: {response.status_code}"


def test_pages_need_the_csrf_token(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.admin)
    response = client.post(reverse("institutions:suspend", args=["north"]), {"reason": "none"})
    assert response.status_code == 403
