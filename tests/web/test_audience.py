"""Invariant 13 on every page: an operator sees its own figures and the pooled ones, never another bank's."""

from __future__ import annotations

import json
import re

import pytest
from django.http import Http404
from django.urls import reverse

from audit.models import Entry
from clientagent.wire import messages
from rounds.drawing import charts_message, parts_of
from rounds.models import Participation
from rounds.selectors.scope import audience_of
from rounds.selectors.snapshot import snapshot
from tests.cast import browser
from tests.web.banks import figures_of

pytestmark = pytest.mark.django_db


def pages_of(run) -> list[str]:
    """Every page that shows something of a run."""
    pages = [reverse("rounds:run", args=[run.pk]), reverse("rounds:runs"), reverse("rounds:home")]
    pages += [reverse("rounds:run", args=[run.pk]) + "?round=1", reverse("rounds:round", args=[run.pk, 1])]
    pages += [reverse("rounds:version", args=[run.pk, number]) for number in range(run.versions.count())]
    pages += [reverse("rounds:project", args=[run.plan.project.slug]), reverse("rounds:plan", args=[run.plan.hash])]
    return pages + [reverse("rounds:entry", args=[run.chain, entry.seq]) for entry in Entry.objects.filter(chain_id=run.chain)]


def everything_shown(user, run) -> str:
    client = browser(user)
    return "\n".join(response.content.decode() for page in pages_of(run) if (response := client.get(page)).status_code == 200)


def pushed(user, run) -> str:
    """What a socket would send to this person."""
    snap = snapshot(run.pk, audience_of(user))
    return json.dumps([{name: part.html for name, part in parts_of(snap).items()}, charts_message(snap)], ensure_ascii=False)


def tells(text: str, figure: str) -> bool:
    """Whether a figure stands in a text, also with more digits, as in a chart."""
    return re.search(rf"(?<![\d.]){re.escape(figure.rstrip('0'))}\d*(?!\d)", text) is not None


def test_the_figures_of_the_cast_tell_whose_they_are() -> None:
    sets = [set(figures_of(slug, version)) for slug in ("north", "south", "east") for version in (1, 2)]
    assert len(sets[0] & sets[2]) == len(sets[0] & sets[4]) == len(sets[2] & sets[4]) == 0


def test_an_operator_is_never_shown_another_banks_figures(running, north) -> None:
    shown = everything_shown(north.operator, running.run) + pushed(north.operator, running.run)
    for slug in ("south", "east"):
        for version in (1, 2):
            assert [figure for figure in figures_of(slug, version) if tells(shown, figure)] == []


def test_an_operator_sees_its_own_figures_and_the_pooled_ones(running, north) -> None:
    shown = pushed(north.operator, running.run)
    assert all(tells(shown, figure) for figure in figures_of("north", 1)[:2])
    pooled = running.run.versions.get(number=1).pooled["holdout"]["auc"]
    assert tells(shown, f"{pooled:.4f}")


@pytest.mark.parametrize("person", ["admin", "auditor"])
def test_administrators_and_auditors_see_every_bank(request, running, person) -> None:
    shown = pushed(request.getfixturevalue(person), running.run)
    for slug in ("north", "south", "east"):
        assert all(tells(shown, figure) for figure in figures_of(slug, 1)[:2]), slug


def test_why_another_bank_was_refused_stays_between_it_and_the_administrator(running, north, south, admin) -> None:
    bank = running.banks[1]
    order = bank.work()
    statement, data = bank.update(running.run, order, bank.difference(running.run, 1))
    assert bank.send(statement, data[:-4]).status_code >= 400
    part = Participation.objects.get(round__run=running.run, round__state="open", institution=south.institution)
    assert part.problem is not None
    assert part.problem["code"] in everything_shown(admin, running.run)
    assert part.problem["code"] in everything_shown(south.operator, running.run)
    assert part.problem["code"] not in everything_shown(north.operator, running.run)


def test_why_a_bank_does_not_fit_stays_between_it_and_the_administrator(federation, north, south, admin) -> None:
    for bank in federation.banks:
        bank.decide()
    run = federation.advance()
    for bank in (federation.banks[0], federation.banks[2]):
        bank.count(run)
    reason = "holds text in 7 rows"
    bank = federation.banks[1]
    bank.post(
        "statistics",
        messages.Unfit(run=str(run.pk), plan_hash=bank.plan.hash, institution="south", column="income", reason=reason),
    )
    run = federation.advance()
    assert run.state == "failed"
    assert reason in everything_shown(admin, run)
    assert reason in everything_shown(south.operator, run)
    assert reason not in everything_shown(north.operator, run)


def test_an_outsider_is_told_that_nothing_is_there(running, outsider) -> None:
    client = browser(outsider.operator)
    assert {client.get(page).status_code for page in pages_of(running.run)[3:]} == {404}
    with pytest.raises(Http404):
        snapshot(running.run.pk, audience_of(outsider.operator))


def test_an_operator_opens_ledger_entries_of_its_own_bank_and_of_no_bank(running, north) -> None:
    client = browser(north.operator)
    rows = Entry.objects.filter(chain_id=running.run.chain)
    opened = {
        row.seq for row in rows if client.get(reverse("rounds:entry", args=[running.run.chain, row.seq])).status_code == 200
    }
    assert opened == {row.seq for row in rows if row.body.get("institution", "north") == "north"}
    assert Entry.objects.filter(chain_id="consortium").exists()
    assert client.get(reverse("rounds:entry", args=["consortium", 1])).status_code == 404
    assert client.get(reverse("rounds:entry", args=[running.run.plan.project.chain, 1])).status_code == 404


def test_downloads_of_a_history_are_for_auditors_and_administrators(running, north, auditor) -> None:
    for name in ("rounds:run-history-json", "rounds:run-history-csv"):
        address = reverse(name, args=[running.run.pk])
        assert browser(north.operator).get(address).status_code == 403
        assert browser(auditor).get(address).status_code == 200
