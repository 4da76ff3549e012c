"""Agents that are heard on a busy portal are noted together; one that comes, or comes back, is noted at once."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from institutions import presence
from institutions.models import Agent
from tests.cast import Bank

pytestmark = pytest.mark.django_db
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def note(agent: Agent, now: dt.datetime) -> None:
    agent.refresh_from_db()
    presence.note(agent, now=now, clock_skew_s=0, protocol=1, version="1.0.0")
    agent.refresh_from_db()


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A portal that has written notes this very moment, and holds none."""
    monkeypatch.setattr(presence, "_waiting", {})
    monkeypatch.setattr(presence, "_written_at", time.monotonic() + 3600)


def test_the_first_request_is_noted_at_once(north: Bank, busy: None) -> None:
    note(north.agent, NOW)
    assert north.agent.last_seen_at == NOW


def test_a_note_waits_for_others_and_all_are_written_together(
    north: Bank, south: Bank, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bank in (north, south):
        Agent.objects.filter(pk=bank.agent.pk).update(last_seen_at=NOW)
    later = NOW + presence.EVERY
    monkeypatch.setattr(presence, "_written_at", time.monotonic() + 3600)
    note(north.agent, later)
    assert north.agent.last_seen_at == NOW
    monkeypatch.setattr(presence, "_written_at", time.monotonic() - presence.TOGETHER_S - 1)
    note(south.agent, later)
    north.agent.refresh_from_db()
    assert north.agent.last_seen_at == south.agent.last_seen_at == later


def test_one_that_was_away_is_noted_at_once(north: Bank, busy: None) -> None:
    Agent.objects.filter(pk=north.agent.pk).update(last_seen_at=NOW)
    back = NOW + presence.AWAY + dt.timedelta(seconds=1)
    note(north.agent, back)
    assert north.agent.last_seen_at == back


def test_an_older_note_does_not_overwrite_a_newer_one(north: Bank, busy: None) -> None:
    note(north.agent, NOW)
    stale = Agent.objects.get(pk=north.agent.pk)
    stale.last_seen_at = None
    presence.note(stale, now=NOW - dt.timedelta(seconds=3), clock_skew_s=0, protocol=1, version="0.9")
    north.agent.refresh_from_db()
    assert (north.agent.last_seen_at, north.agent.version) == (NOW, "1.0.0")
