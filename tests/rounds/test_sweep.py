"""The sweep of a process: what another process moved is told to the banks that wait here, once."""

from __future__ import annotations

import pytest

from rounds import live, tasks
from rounds.engine import steps

pytestmark = pytest.mark.django_db


def test_banks_hear_once_of_a_run_that_another_process_moved(federation, monkeypatch):
    called = []
    monkeypatch.setattr(live, "call_to_work", lambda slugs: called.append(sorted(slugs)))
    monkeypatch.setattr(tasks, "_seen", {})
    everybody = ["east", "north", "south"]
    tasks._call_where_moved(steps.open_runs())
    tasks._call_where_moved(steps.open_runs())
    assert called == [everybody]
    federation.begin()
    called.clear()
    tasks._call_where_moved(steps.open_runs())
    assert called == [everybody]
