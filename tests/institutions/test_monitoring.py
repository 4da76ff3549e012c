"""Metrics, readiness and log lines as a monitor reads them."""

from __future__ import annotations

import json
import logging
import re

import pytest
from django.test import Client
from django.urls import reverse

from audit.context import speaking_of
from fedportal.logs import JsonFormatter, RequestIdFilter
from tests.rounds.scripted import make_federation


@pytest.fixture
def lines(north, south, admin) -> dict[str, float]:
    federation = make_federation([north, south], admin, privacy={"min_banks": 2, "min_banks_reason": "a rehearsal"})
    federation.begin()
    federation.round()
    bank = federation.banks[0]
    order = bank.work()
    flat = bank.difference(federation.run, 1)
    flat[0] = float("nan")
    assert bank.send(*bank.update(federation.run, order, flat)).status_code == 422
    text = Client().get(reverse("metrics")).content.decode()
    return {name: float(value) for name, value in re.findall(r"^(fedportal_\S+) (\S+)$", text, re.MULTILINE)}


def test_metrics_count_what_the_tables_hold(lines: dict[str, float]):
    assert lines['fedportal_rounds{state="published"}'] == 1
    assert lines['fedportal_rounds{state="open"}'] == 1
    assert lines['fedportal_runs{state="running"}'] == 1
    assert lines["fedportal_updates_total"] == 2
    assert lines["fedportal_update_bytes_total"] > 0
    assert lines['fedportal_refusals_total{code="not_finite"}'] == 1
    assert lines['fedportal_round_stage_seconds_count{stage="collecting"}'] == 1
    assert lines["fedportal_engine_lag_seconds"] == 0


@pytest.mark.django_db
def test_metrics_are_for_the_machine_itself_or_the_token(settings):
    address = reverse("metrics")
    assert Client(REMOTE_ADDR="192.0.2.7").get(address).status_code == 403
    assert Client(headers={"X-Forwarded-For": "192.0.2.7"}).get(address).status_code == 403
    settings.FEDPORTAL_METRICS_TOKEN = "a-long-token"
    assert Client().get(address).status_code == 403
    known = Client(REMOTE_ADDR="192.0.2.7", headers={"Authorization": "Bearer a-long-token"})
    assert known.get(address).status_code == 200


@pytest.mark.django_db
def test_a_portal_whose_broker_is_away_is_not_ready(settings):
    assert Client().get(reverse("readyz")).status_code == 200
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    from fedportal.celery import app

    before, app.conf.broker_url = app.conf.broker_url, settings.REDIS_URL
    app.conf.broker_write_url = settings.REDIS_URL
    try:
        answer = Client().get(reverse("readyz"))
    finally:
        app.conf.broker_url = app.conf.broker_write_url = before
    assert (answer.status_code, answer.json()["broker"]) == (503, "does not answer")


def test_every_line_says_which_run_round_and_institution_it_is_about():
    record = logging.LogRecord("rounds", logging.INFO, __file__, 1, "closed", (), None)
    with speaking_of(run="a-run", institution="north"), speaking_of(round=3):
        RequestIdFilter().filter(record)
    line = json.loads(JsonFormatter().format(record))
    assert (line["run"], line["round"], line["institution"], line["message"]) == ("a-run", 3, "north", "closed")
