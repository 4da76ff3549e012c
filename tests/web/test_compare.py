"""Versions side by side: the first is the measure, figures are those that the reader may see, plans are told apart field by field."""

from __future__ import annotations

import pytest
from django.urls import reverse

from clientagent.wire.plan import parse_plan
from rounds import services
from tests.cast import browser
from tests.rounds.scripted import Federation, plan_document
from tests.web.banks import TellingBank
from tests.web.banks import figures_of as telling_figures
from tests.web.test_evaluation import charts_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def second(finished, admin) -> Federation:
    """Another run of the project by a plan that differs in one field."""
    banks = [bank.bank for bank in finished.banks]
    plan = parse_plan(plan_document([b.slug for b in banks], schedule={"rounds": 2}) | {"training": {"batch_size": 32}})
    frozen = services.freeze_plan(project=finished.run.plan.project, plan=plan, user=admin, title="Smaller batches")
    run = services.propose_run(plan=frozen, user=admin)
    federation = Federation(run, [TellingBank(bank, plan, 100) for bank in banks])
    federation.begin()
    federation.finish()
    return federation


def address(*runs, **more) -> str:
    chosen = "&".join(f"v={run.pk}:{run.selected.number}" for run in runs)
    return f"{reverse('rounds:compare')}?{chosen}" + "".join(f"&{name}={value}" for name, value in more.items())


def test_two_runs_are_compared_figure_by_figure_and_field_by_field(finished, second, admin) -> None:
    answer = browser(admin).get(address(finished.run, second.run))
    found = answer.context["comparison"]
    assert [column.name for column in found.columns] == ["Run 1, v4", "Run 2, v2"]
    auc = found.figures[0]
    assert auc.deltas == [None, pytest.approx(auc.values[1] - auc.values[0])]
    loss = next(row for row in found.figures if row.label == "Log loss")
    assert loss.values[loss.best] == min(loss.values)
    assert dict(found.plans)["training.batch_size"] == ["64", "32"]
    assert set(charts_of(answer.content.decode())) == {"roc", "pr", "gain", "calibration", "learning"}


def test_an_operator_compares_the_own_customers_and_all_together(finished, second, north) -> None:
    page = north.browser().get(address(finished.run, second.run, of="north"))
    assert page.context["comparison"].subject == "north"
    assert telling_figures("north", 4)[2] in page.content.decode()
    spied = north.browser().get(address(finished.run, second.run, of="south"))
    assert spied.context["comparison"].subject == ""
    for answer in (page, spied):
        assert telling_figures("south", 4)[0] not in answer.content.decode()


def test_nobody_compares_what_is_not_there(finished, admin, outsider) -> None:
    assert outsider.browser().get(address(finished.run)).status_code == 404
    client = browser(admin)
    assert client.get(reverse("rounds:compare") + "?v=nonsense&v=1:2&v=&v=x:y").status_code == 200
    assert client.get(reverse("rounds:compare") + f"?v={finished.run.pk}:99").status_code == 404


def test_without_a_choice_the_page_offers_projects_and_then_versions(finished, admin) -> None:
    client = browser(admin)
    assert "?project=retail" in client.get(reverse("rounds:compare")).content.decode()
    assert f"{finished.run.pk}:{finished.run.selected.number}" in client.get(reverse("rounds:compare") + "?project=retail").content.decode()


def test_the_same_version_twice_is_one(finished, admin) -> None:
    found = browser(admin).get(address(finished.run, finished.run)).context["comparison"]
    assert len(found.columns) == 1
