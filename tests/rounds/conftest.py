from __future__ import annotations

import pytest

from rounds.api import hot
from tests.cast import Bank, make_bank
from tests.rounds.scripted import Federation, make_federation


@pytest.fixture
def nobody_lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    """For banks that speak one after the other: an answer that waits for the next bank's word would wait in vain."""
    monkeypatch.setattr(hot, "LINGER_S", 0)


@pytest.fixture
def east(admin) -> Bank:
    return make_bank("east", by=admin)


@pytest.fixture
def federation(north, south, east, admin) -> Federation:
    """Three banks, proposed: nobody has spoken yet."""
    return make_federation([north, south, east], admin)


@pytest.fixture
def running(federation) -> Federation:
    """The same with round 1 open."""
    federation.begin()
    return federation
