"""A version's page, file and API say how it scores: the same figures, to each reader what that reader may see."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from clientagent.wire.evaluation import Tally, figures_of
from rounds.models import ModelVersion
from tests.cast import browser
from tests.web.banks import figures_of as telling_figures

pytestmark = pytest.mark.django_db
CHARTS = {"roc", "pr", "gain", "ks", "calibration", "scores"}


@pytest.fixture
def address(finished) -> str:
    return reverse("rounds:version", args=[finished.run.pk, finished.run.selected.number])


def charts_of(page: str) -> dict:
    return json.loads(page.partition('<script id="figures" type="application/json">')[2].partition("</script>")[0])


def test_every_chart_is_drawn_and_has_its_table(address, admin) -> None:
    page = browser(admin).get(address).content.decode()
    assert set(charts_of(page)) == CHARTS
    for name in CHARTS:
        assert f'id="table-{name}"' in page


def test_an_operator_sees_the_own_bank_and_all_together(address, finished, north) -> None:
    client, number = north.browser(), finished.run.selected.number
    page = client.get(address).content.decode()
    assert telling_figures("north", number)[0] in page
    for other in ("south", "east"):
        assert telling_figures(other, number)[0] not in page
        assert telling_figures(other, number)[0] not in client.get(f"{address}?of={other}").content.decode()
    said = client.get(reverse("rounds:evaluation", args=[finished.run.pk, number])).json()
    assert [holder["institution"] for holder in said["holders"]] == [None, "north"]


def test_an_agent_reads_the_same_through_the_api(finished, north) -> None:
    path = reverse("api-version-evaluation", args=[finished.run.pk, finished.run.selected.number])
    answer = north.get(path)
    assert answer.status_code == 200
    assert [holder["institution"] for holder in answer.json()["holders"]] == [None, "north"]


def test_a_stranger_to_the_run_is_told_nothing(finished, outsider) -> None:
    path = reverse("api-version-evaluation", args=[finished.run.pk, finished.run.selected.number])
    assert outsider.get(path).status_code == 404


def test_the_files_figures_follow_from_its_counts(finished, auditor) -> None:
    said = browser(auditor).get(reverse("rounds:evaluation", args=[finished.run.pk, finished.run.selected.number])).json()
    assert len(said["holders"]) == 4
    for holder in said["holders"]:
        again = figures_of(Tally.from_json(holder["holdout"]), budget=said["alert_budget"])
        assert json.loads(json.dumps(again)) == holder["figures"]


def test_a_cut_is_chosen_by_budget_or_by_probability(address, admin) -> None:
    client = browser(admin)
    by_budget = client.get(f"{address}?by=budget&budget=30").context["chosen"]
    assert by_budget.confusion.flagged_share <= 0.3
    by_probability = client.get(f"{address}?by=cut&cut=50").context["chosen"]
    assert (by_probability.cut, by_probability.by) == (500, "probability")
    assert by_probability.lines[0][1] == by_probability.confusion


@pytest.mark.parametrize("query", ["budget=nonsense", "by=cut&cut=-3", "by=cut&cut=nan", "of=nobody", "budget=1e309", "by=cut&cut=100"])
def test_a_cut_that_is_none_is_the_plans_budget(query, address, admin) -> None:
    assert browser(admin).get(f"{address}?{query}").status_code == 200


def test_in_async_mode_all_banks_curve_is_of_the_counts_that_were_pooled(finished, admin) -> None:
    """The reports gather over versions there, so a version's own rows may be one bank's alone."""
    version = finished.run.selected
    version.evaluations.exclude(institution__slug="north").update(version=ModelVersion.objects.get(run=finished.run, number=0))
    page = browser(admin).get(reverse("rounds:version", args=[finished.run.pk, version.number]))
    scores = page.context["page"].scores
    assert scores.pooled.tally.rows == 3 * 97
    assert [holder.slug for holder in scores.holders] == ["", "north"]


def test_a_version_that_nobody_scored_says_why(running, admin) -> None:
    page = browser(admin).get(reverse("rounds:version", args=[running.run.pk, running.run.versions.count() - 1])).content.decode()
    assert "Not evaluated yet" in page
    assert '<script id="figures"' not in page
