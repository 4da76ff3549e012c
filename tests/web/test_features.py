"""What a version looks at, in the browser: each feature's bins, a scorecard's points, and the table to keep."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from django.urls import reverse

from clientagent.data import Categories, Table, split_rows
from clientagent.preparation.statistics import statistics_report
from tests.cast import browser
from tests.rounds.scripted import Federation, ScriptedBank, make_federation

pytestmark = pytest.mark.django_db


@dataclass
class CountingBank(ScriptedBank):
    """Counts a table of its own as agents do, where a scripted bank makes its numbers up."""

    def report(self, run, **changes):
        rng = np.random.default_rng(len(self.slug))
        income = np.where(rng.random(400) < 0.1, np.nan, rng.normal(50, 10, 400))
        bad = (rng.random(400) < 1 / (1 + np.exp(0.2 * (np.nan_to_num(income, nan=50) - 42)))).astype(np.int8)
        regions = Categories(rng.integers(0, 3, 400).astype(np.int32), ["a", "b", "c"])
        table = Table(400, {"income": income}, {"region": regions}, bad)
        return statistics_report(
            self.plan, table, split_rows(self.plan, table), run=str(run.pk), institution=self.slug, salt=self.slug
        )


def counting(banks: list[Any], admin: Any, **changes: Any) -> Federation:
    made = make_federation(banks, admin, **changes)
    made.banks = [CountingBank(bank.bank, bank.plan, 280) for bank in made.banks]
    return made


@pytest.fixture
def scored(north, south, east, admin) -> Federation:
    federation = counting([north, south, east], admin, model={"family": "scorecard"})
    federation.begin()
    federation.round(seed=1)
    return federation


def address(federation: Federation, name: str, number: int = 1) -> str:
    return reverse(f"rounds:{name}", args=[federation.run.pk, number])


def test_a_scorecard_shows_its_points_and_gives_them_away(scored, north) -> None:
    client = north.browser()
    assert address(scored, "features") in client.get(address(scored, "version")).content.decode()
    page = client.get(address(scored, "features"))
    text = page.content.decode()
    assert "Points of the scorecard" in text
    assert address(scored, "features-csv") in text
    income = next(row for row in page.context["page"].rows if row.name == "income")
    assert income.iv > 0.1
    shares = [row.bad_share for row in income.bins[:-1]]
    assert shares == sorted(shares, reverse=True)  # monotonic
    answer = client.get(address(scored, "features-csv"))
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert [row["bin"] for row in rows if row["feature"] == "income"] == [row.bin for row in income.bins]
    assert [int(row["points"]) for row in rows if row["feature"] == "income"] == [row.points for row in income.bins]


@pytest.mark.parametrize("method", ["zscore", "quantile", "bins", "piecewise", "woe"])
def test_every_way_of_preparing_has_its_page(method, north, south, east, admin) -> None:
    federation = counting([north, south, east], admin, preprocessing={"numeric": method})
    federation.begin()
    page = browser(admin).get(address(federation, "features", 0))
    income, region = page.context["page"].rows
    assert (income.method, region.method) == (method, "onehot")
    assert sum(row.share for row in income.bins) == pytest.approx(1)
    assert sum(row.share for row in region.bins) == pytest.approx(1)
    assert (income.iv is not None) == (method == "woe")
    kept = browser(admin).get(address(federation, "features-csv", 0)).content.decode()
    assert len(kept.splitlines()) == 1 + len(income.bins) + len(region.bins)


def test_without_cells_the_page_says_so(running, admin) -> None:
    text = browser(admin).get(address(running, "features")).content.decode()
    assert "No bins were counted" in text
