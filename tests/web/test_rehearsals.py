"""A rehearsal is attached to the plan whose terms it ran; its time, bytes and accuracy are shown before any bank trains."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from audit.models import Entry
from clientagent.wire.plan import parse_plan
from rounds.forms.yaml_text import document_from_yaml, yaml_of
from rounds.models import RehearsalReport
from rounds.rehearsal.planning import adapt
from rounds.rehearsal.result import Rehearsal, is_of
from tests.cast import browser

pytestmark = pytest.mark.django_db(transaction=True)


BANKS = ["bank-1", "bank-2", "bank-3", "bank-4"]


def rehearsed(plan, **changes: object):
    """The plan that ``simulate`` makes of a file, as its own code does."""
    document = adapt(plan.model_dump(mode="json"), label=plan.label.name, positive="1", by=None, participants=BANKS)
    return parse_plan(document | changes)


def written(plan, **changes: object) -> dict:
    """As ``simulate --json`` writes it."""
    rounds = [
        {"number": n, "seconds": 2.0, "bytes_up": 4000, "bytes_down": 8000, "participants": 4, "auc": 0.7, "ks": 0.4, "loss": 0.5,
         "epsilon": None} for n in (1, 2)
    ]  # fmt: skip
    return {
        "plan_hash": rehearsed(plan).hash, "strategy": "fedavg", "rounds": rounds,
        "final": {"auc": 0.7421, "ks": 0.4, "gini": 0.48, "logloss": 0.4, "brier": 0.1}, "central": {"auc": 0.7500},
        "local": [{"institution": name, "rows": 50, "auc": 0.6, "own_auc": 0.61, "final_own_auc": 0.72} for name in BANKS],
        "model_digest": "1" * 64, "totals": {"seconds": 4.5, "bytes_up": 8000, "bytes_down": 16000, "peak_rss_mb": 90.0},
        **changes,
    }  # fmt: skip


def attach(client, plan, content: str) -> str:
    file = SimpleUploadedFile("rehearsal.json", content.encode(), "application/json")
    answer = client.post(reverse("rounds:plan-rehearsal-attach", args=[plan.hash]), {"result": file}, follow=True)
    return answer.content.decode()


def test_what_a_rehearsal_found_is_on_the_plans_page_and_the_ledger(federation, admin, auditor) -> None:
    plan = federation.run.plan
    assert "None attached yet: what would this plan cost" in browser(admin).get(reverse("rounds:plan", args=[plan.hash])).content.decode()
    assert "The rehearsal is attached" in attach(browser(admin), plan, json.dumps(written(plan.document)))
    page = browser(auditor).get(reverse("rounds:plan-rehearsals", args=[plan.hash])).content.decode()
    for figure in ("0.7421", "0.7500", "\N{MINUS SIGN}0.0079", "2 rounds of", "0.6100", "0.7200"):
        assert figure in page
    assert 'name="result"' not in page
    assert "0.0079 against all rows in one place" in browser(auditor).get(reverse("rounds:plan", args=[plan.hash])).content.decode()
    assert Entry.objects.get(kind="rehearsal_attached").body["digest"] == RehearsalReport.objects.get().digest


def test_the_same_plan_on_other_banks_is_the_same_and_nothing_else_is(federation) -> None:
    plan = federation.run.plan.document
    found = Rehearsal.model_validate(written(plan))
    assert is_of(found, plan)
    assert is_of(found.model_copy(update={"local": []}), plan), "without references, banks have the names of --banks"
    longer = parse_plan(plan.model_dump(mode="json") | {"schedule": {"rounds": plan.schedule.rounds + 1}})
    assert not is_of(found, longer)


def test_wrong_files_are_refused_by_name(federation, admin) -> None:
    plan = federation.run.plan
    good = written(plan.document)
    for wrong, said in [
        (json.dumps(good | {"plan_hash": "0" * 64}), "a rehearsal of this plan"),
        ("{}", "simulate PLAN.yaml"),
        ("not json", "simulate PLAN.yaml"),
        (json.dumps(good | {"rounds": []}), "simulate PLAN.yaml"),
        (json.dumps(good | {"final": {"auc": 7}}), "simulate PLAN.yaml"),
        (json.dumps(good)[:-1] + " " * (4 * 2**20) + "}", "at most 4194304 bytes"),
    ]:
        assert said in attach(browser(admin), plan, wrong)
    assert not RehearsalReport.objects.exists()


def test_the_plan_comes_as_yaml_that_the_form_takes_back(federation, north) -> None:
    plan = federation.run.plan
    answer = north.browser().get(reverse("rounds:plan-yaml", args=[plan.hash]))
    assert answer["Content-Disposition"].endswith('.yaml"')
    assert parse_plan(document_from_yaml(answer.content.decode())) == plan.document


def test_the_form_tells_the_time_at_the_pace_of_the_last_run(running, admin) -> None:
    page = browser(admin).get(reverse("rounds:plan", args=[running.run.plan.hash])).content.decode()
    assert "at the pace of the project" in page


def test_another_plan_under_the_same_protection_is_told_what_a_rehearsal_lost(federation, admin) -> None:
    plan = federation.run.plan
    address, longer = reverse("rounds:plan-new", args=["retail"]), yaml_of(
        parse_plan(plan.document.model_dump(mode="json") | {"schedule": {"rounds": 9}})
    )
    assert "lost 0.008 of AUC" not in browser(admin).post(address, {"intent": "fill", "yaml": longer}).content.decode()
    attach(browser(admin), plan, json.dumps(written(plan.document)))
    page = browser(admin).post(address, {"intent": "fill", "yaml": longer}).content.decode()
    assert "lost 0.008 of AUC" in page
    assert reverse("rounds:plan-rehearsals", args=[plan.hash]) in page
    noised = parse_plan(plan.document.model_dump(mode="json") | {"privacy": {"record_dp": {}}, "schedule": {"rounds": 2, "select": "last"}})
    page = browser(admin).post(address, {"intent": "fill", "yaml": yaml_of(noised)}).content.decode()
    assert "What the noise costs in accuracy is not known" in page
    assert "No run here has spent of the customers of" in page
    for heading in ("What is protected, and from whom", "What stays in sight", "What it costs"):
        assert heading in page
