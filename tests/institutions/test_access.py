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
from tests.access_table import OTHER, OWN, STRANGER, TABLE, Cast, Reader
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


@pytest.mark.parametrize("name", TABLE)
def test_who_may_open(name: str, cast: Cast) -> None:
    access = TABLE[name]
    address = reverse(name, kwargs=access.args(cast))
    for reader in Reader:
        response = browser(cast.user(reader)).get(address)
        if reader in access.get:
            assert is_let_in(response), f"{reader} may open {name}, got {response.status_code}"
        else:
            assert not is_let_in(response), f"{reader} may not open {name}, got {response.status_code}"
            assert response.status_code < 500
        if reader == OTHER and OWN in access.get and OTHER not in access.get:
            assert response.status_code == 404, f"another bank learns that {name} is there"


@pytest.mark.parametrize("name", TABLE)
def test_who_may_send(name: str, cast: Cast) -> None:
    """Whoever may not is turned away before anything happens: the ledger has no entry more."""
    access = TABLE[name]
    address = reverse(name, kwargs=access.args(cast))
    before = Entry.objects.count()
    for reader in set(Reader) - access.post:
        response = browser(cast.user(reader)).post(address, {"reason": "a reason", "fingerprint": "0" * 64})
        assert not is_let_in(response), f"{reader} may not send to {name}, got {response.status_code}"
        assert response.status_code < 500
    assert Entry.objects.count() == before


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
