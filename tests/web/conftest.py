from __future__ import annotations

import pytest

from tests.cast import Bank, make_bank
from tests.web.banks import TellingBank, telling_federation


@pytest.fixture
def east(admin) -> Bank:
    return make_bank("east", by=admin)


@pytest.fixture
def federation(north, south, east, admin):
    """Three banks whose figures differ, proposed: nobody has spoken yet."""
    return telling_federation([north, south, east], admin)


@pytest.fixture
def running(federation):
    """The same, two rounds later: round 3 of 4 is open."""
    federation.begin()
    federation.round(seed=1)
    federation.round(seed=2)
    return federation


@pytest.fixture
def finished(federation):
    federation.begin()
    federation.finish()
    return federation


__all__ = ["TellingBank"]
