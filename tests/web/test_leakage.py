"""A self-test is attached to a plan's page by a person, read by whoever may see the plan, and on the ledger."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from audit.models import Entry
from clientagent.wire.leakage import Finding, LeakTest
from rounds.models import LeakReport
from tests.cast import browser

pytestmark = pytest.mark.django_db(transaction=True)


def a_test(plan_hash: str, **changes: object) -> LeakTest:
    fields: dict[str, object] = {
        "plan_hash": plan_hash, "agent_version": "0.1.0", "made_utc": "2026-01-01T00:00:00Z", "seconds": 40.0, "seed": 7,
        "rows": 200, "banks": 1, "inputs": 5, "hidden": [], "parameters": 6, "narrowed": False, "stated_epsilon": 1.0,
        "delta": 1e-6,
        "findings": [
            Finding(attack="recovery", customers=1, chance=0.03, margin=0.2, without=1.0, protected=0.01),
            Finding(attack="canary", customers=65, chance=0, margin=0, without=3.6, protected=1.25, ceiling=3.6),
        ],
        **changes,
    }  # fmt: skip
    return LeakTest.model_validate(fields)


def attach(client, plan, content: str):
    file = SimpleUploadedFile("leaktest.json", content.encode(), "application/json")
    return client.post(reverse("rounds:plan-leakage-attach", args=[plan.hash]), {"result": file}, follow=True)


def test_an_operator_attaches_a_self_test_and_the_auditor_reads_it(federation, north, auditor) -> None:
    plan = federation.run.plan
    page = attach(north.browser(), plan, a_test(plan.hash).model_dump_json()).content.decode()
    assert "The self-test is attached" in page
    page = browser(auditor).get(reverse("rounds:plan-leakage", args=[plan.hash])).content.decode()
    assert "Inputs read off the first layer" in page
    assert "did no better than chance under this plan" in page
    assert "More than the plan states" in page
    assert north.institution.name in page
    assert "never their absence" in page
    assert 'name="result"' not in page
    assert Entry.objects.get(kind="leak_test_attached").body["digest"] == LeakReport.objects.get().digest
    assert "1 self-test attached" in browser(auditor).get(reverse("rounds:plan", args=[plan.hash])).content.decode()


def test_the_same_file_twice_is_one_and_other_files_are_refused(federation, north, admin) -> None:
    plan = federation.run.plan
    text = a_test(plan.hash).model_dump_json()
    attach(north.browser(), plan, text)
    attach(browser(admin), plan, text)
    assert LeakReport.objects.count() == 1
    for wrong, said in [
        (a_test("0" * 64).model_dump_json(), "a self-test of plan"),
        ("{}", "fedagent leaktest"),
        ("not json", "fedagent leaktest"),
        (json.dumps({**json.loads(text), "more": 1}), "fedagent leaktest"),
        (" " * 70_000, "at most 65536 bytes"),
    ]:
        assert said in attach(north.browser(), plan, wrong).content.decode()
    assert "the file that the command wrote" in north.browser().post(
        reverse("rounds:plan-leakage-attach", args=[plan.hash]), follow=True
    ).content.decode()
    assert LeakReport.objects.count() == 1


def test_a_plan_without_one_says_how_to_make_it(federation, north) -> None:
    plan = federation.run.plan
    page = north.browser().get(reverse("rounds:plan-leakage", args=[plan.hash])).content.decode()
    assert "No self-test yet" in page
    assert f"fedagent leaktest --plan {plan.hash} --json" in page
