"""Privacy for whoever checks it: promised, stated, computed and remaining, project by project and run by run."""

from __future__ import annotations

import pytest
from django.urls import reverse

from rounds.models import PrivacyRelease
from rounds.selectors.scope import audience_of
from rounds.selectors.spending import overview, run_spending
from tests.cast import browser
from tests.rounds.test_privacy import banks, private  # noqa: F401
from tests.rounds.test_privacy import whole_round as private_round

pytestmark = pytest.mark.django_db


def text_of(client, name: str, *args) -> str:
    answer = client.get(reverse(name, args=args))
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_an_auditor_reads_what_each_run_promised_and_spent(private, banks, auditor):  # noqa: F811
    private_round(private, banks)
    client = browser(auditor)
    assert reverse("rounds:privacy") in text_of(client, "rounds:home")
    assert reverse("rounds:run-privacy", args=[private.run.pk]) in text_of(client, "rounds:run", private.run.pk)
    row = overview(audience_of(auditor))[0].promises[0]
    assert (row.unit, row.allowed, row.banks, row.releases) == ("record", 2.0, 3, 3)
    page = text_of(client, "rounds:privacy")
    assert f"ε {row.stated:.3f}" in page
    assert f"ε {row.left:.3f}" in page
    found = run_spending(audience_of(auditor), private.run)
    assert len(found.spent) == 3
    assert found.holds
    for one in found.spent:
        assert one.computed == pytest.approx(one.stated)
        assert [(group.releases, group.steps) for group in one.groups] == [(1, one.groups[0].steps)]
    evidence = text_of(client, "rounds:run-privacy", private.run.pk)
    assert "Every statement holds" in evidence
    assert "fedagent verify" in evidence


def test_a_statement_that_does_not_hold_is_said(private, banks, auditor):  # noqa: F811
    private_round(private, banks)
    release = PrivacyRelease.objects.filter(run=private.run, account__institution__slug="north").get()
    release.run_epsilon /= 2
    release.save()
    found = run_spending(audience_of(auditor), private.run)
    assert {one.institution.slug: one.holds for one in found.spent} == {"east": True, "north": False, "south": True}
    assert "A statement does not hold" in text_of(browser(auditor), "rounds:run-privacy", private.run.pk)


def test_an_operator_reads_the_own_banks_spending_alone(private, banks, north):  # noqa: F811
    private_round(private, banks)
    audience = audience_of(north.operator)
    assert [one.institution.slug for one in run_spending(audience, private.run).spent] == ["north"]
    row = overview(audience)[0].promises[0]
    assert (row.banks, row.releases) == (1, 1)
    page = text_of(north.browser(), "rounds:run-privacy", private.run.pk)
    assert "South Bank" not in page
    assert "East Bank" not in page


def test_a_run_that_promises_nothing_says_so(running, auditor):
    client = browser(auditor)
    assert "promises no differential privacy" in text_of(client, "rounds:run-privacy", running.run.pk)
    assert "No run here promises differential privacy" in text_of(client, "rounds:privacy")


def test_an_empty_consortium_says_what_will_be_here(auditor):
    assert "No project yet" in text_of(browser(auditor), "rounds:privacy")
