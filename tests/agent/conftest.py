from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clientagent import enrolment
from clientagent.home import Home
from tests.agent.given import POLICY, one_bank_plan, write_table
from tests.agent.portal_double import PortalDouble

os.environ["FEDAGENT_LANG"] = "en"  # whatever the terminal of whoever runs the tests says


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., PortalDouble]]:
    """Starts portals that end with the test."""
    started: list[PortalDouble] = []

    def start(**changes: object) -> PortalDouble:
        portal = PortalDouble(one_bank_plan(**changes))
        started.append(portal)
        return portal

    yield start
    for portal in started:
        portal.close()


@pytest.fixture
def portal(serve: Callable[..., PortalDouble]) -> PortalDouble:
    """A portal with a small plan for one bank."""
    return serve()


@pytest.fixture
def bank(tmp_path: Path) -> Callable[[PortalDouble], Home]:
    """Enrols a new home at a portal, with a table that fits and a policy that approves."""
    numbers = itertools.count()

    def enrol(portal: PortalDouble) -> Home:
        home = Home(tmp_path / f"bank-{next(numbers)}")
        enrolment.enrol(home, url=portal.url, code=portal.code, name="north-agent")
        write_table(home.path / "table.csv")
        home.policy_path.write_text(POLICY)
        return home

    return enrol
