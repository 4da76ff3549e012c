from __future__ import annotations

import pytest

from tests.cast import Bank, make_bank
from tests.rounds.scripted import Federation, make_federation


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
