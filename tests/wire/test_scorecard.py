"""A scorecard's points add up to its score, and the score means the odds that the plan says."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.messages import CategoricalWoe, Evidence, PreprocessingSpec, WoeInput
from clientagent.wire.scorecard import as_csv, scorecard
from tests.wire.given import a_plan

weights = st.floats(-3, 3, width=32)


def evidence(*weights_of_bins: float) -> list[Evidence]:
    return [Evidence(good=90, bad=10, woe=woe) for woe in weights_of_bins]


def spec(plan_hash: str) -> PreprocessingSpec:
    amount = WoeInput(name="amount", edges=[10.0, 20.0], bins=evidence(-0.5, 0.1, 0.7), missing=Evidence(good=0, bad=0, woe=0), iv=0.2)
    region = CategoricalWoe(
        name="=region", categories=["a"], bins=evidence(0.3), other=evidence(-0.2)[0], missing=evidence(0.0)[0], iv=0.1
    )
    return PreprocessingSpec(plan_hash=plan_hash, numeric=[amount], categorical=[region])


def plan(**changes: float):
    return a_plan(model={"family": "scorecard", **changes})


@given(bias=weights, first=weights, second=weights)
def test_the_points_of_a_customers_bins_are_its_score(bias, first, second) -> None:
    card = scorecard(plan(), spec(plan().hash), np.array([bias, first, second], np.float32))
    amount, region = card.cards
    for line in amount.lines:
        for other in region.lines:
            logit = bias + first * line.woe + second * other.woe
            assert line.exact + other.exact == pytest.approx(card.score(logit), abs=1e-3)


def test_the_base_score_is_at_the_base_odds_and_pdo_doubles_them() -> None:
    card = scorecard(plan(base_score=500, base_odds=30, points_to_double=40), spec(plan().hash), np.zeros(3, np.float32))
    assert card.score(-math.log(30)) == pytest.approx(500)
    assert card.score(-math.log(60)) == pytest.approx(540)


def test_a_weight_against_its_evidence_is_seen() -> None:
    card = scorecard(plan(), spec(plan().hash), np.array([0, -1, 0.5], np.float32))
    assert [one.is_against_evidence for one in card.cards] == [False, True]
    assert card.cards[0].spread == round(1.2 * 20 / math.log(2))


def test_the_table_names_every_bin_and_no_formula() -> None:
    card = scorecard(plan(), spec(plan().hash), np.array([-1, -1, -1], np.float32))
    rows = list(csv.DictReader(io.StringIO(as_csv(card))))
    assert [row["bin"] for row in rows] == ["<= 10", "> 10, <= 20", "> 20", "(missing)", "a", "(other)", "(missing)"]
    assert rows[4]["feature"] == "'=region"
    assert int(rows[0]["points"]) == card.cards[0].lines[0].points


def test_only_a_scorecard_has_points() -> None:
    with pytest.raises(PlanUnsupported, match="scorecard"):
        scorecard(a_plan(model={"family": "logistic"}), spec(plan().hash), np.zeros(3, np.float32))
