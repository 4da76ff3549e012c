"""Pages ask the database a fixed number of questions, however many rows they show."""

from __future__ import annotations

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rounds.models import Run, Seat
from rounds.selectors.scope import audience_of
from rounds.selectors.snapshot import snapshot
from tests.cast import browser, make_bank
from tests.web.banks import telling_federation

pytestmark = pytest.mark.django_db


def questions(client, page: str) -> int:
    client.get(page)  # caches of settings and content types are warm
    with CaptureQueriesContext(connection) as asked:
        assert client.get(page).status_code == 200
    return len(asked)


def more_runs(run: Run, count: int) -> None:
    for i in range(count):
        twin = Run.objects.create(id=uuid.uuid4(), plan=run.plan, number=100 + i, state="stopped", reason="a twin")
        Seat.objects.bulk_create(Seat(run=twin, institution=seat.institution) for seat in run.seats.all())


PAGES = ["rounds:home", "rounds:runs", "rounds:projects", "rounds:history", "rounds:ledger"]


@pytest.mark.parametrize("name", PAGES)
def test_lists_do_not_ask_for_each_row(name, running, admin) -> None:
    client, page = browser(admin), reverse(name)
    before = questions(client, page)
    more_runs(running.run, 6)
    running.round(seed=9)
    assert questions(client, page) <= before


def test_a_project_does_not_ask_for_each_plan_or_run(running, admin) -> None:
    client, page = browser(admin), reverse("rounds:project", args=["retail"])
    before = questions(client, page)
    more_runs(running.run, 6)
    assert questions(client, page) <= before


@pytest.mark.parametrize("person", ["admin", "operator"])
def test_a_snapshot_asks_the_same_however_long_the_run(person, running, admin, north) -> None:
    audience = audience_of({"admin": admin, "operator": north.operator}[person])
    with CaptureQueriesContext(connection) as first:
        snapshot(running.run.pk, audience)
    running.round(seed=5)
    with CaptureQueriesContext(connection) as second:
        snapshot(running.run.pk, audience)
    assert len(second) <= len(first) <= 16


def test_a_snapshot_asks_the_same_however_many_banks(running, admin) -> None:
    banks = [make_bank(f"bank-{i}", by=admin) for i in range(6)]
    wide = telling_federation(banks, admin, slug="wide")
    wide.begin()
    audience = audience_of(admin)
    with CaptureQueriesContext(connection) as few:
        snapshot(running.run.pk, audience)
    with CaptureQueriesContext(connection) as many:
        snapshot(wide.run.pk, audience)
    assert len(many) <= len(few)


def test_a_receipt_list_does_not_ask_for_each_receipt(running, north) -> None:
    client, page = north.browser(), reverse("rounds:receipts")
    before = questions(client, page)
    running.round(seed=5)
    assert questions(client, page) <= before
