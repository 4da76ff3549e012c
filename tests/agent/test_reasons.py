"""Reasons add up to what they explain, whatever the model; a change that is named does what it says."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clientagent.data import Categories, Table, split_rows
from clientagent.evaluation.scores import score
from clientagent.models import build, load_flat
from clientagent.preparation.preprocess import preprocess
from clientagent.preparation.statistics import statistics_report
from clientagent.scoring.attribution import _gradient, attribute, baseline_of, feature_slices
from clientagent.scoring.reasons import CATALOGUE, Kind, read_wording
from clientagent.scoring.scorer import Scorer, Wish
from clientagent.scoring.stored import StoredModel
from clientagent.wire.errors import PolicyInvalid
from clientagent.wire.scorecard import scorecard
from clientagent.wire.weights import layout_of
from rounds.algorithms.preprocessing import pool_statistics
from tests.agent.tables import plan_of

METHODS = ("zscore", "quantile", "bins", "piecewise", "woe")


def table_of(rows: int, seed: int) -> Table:
    """A low income foretells default."""
    rng = np.random.default_rng(seed)
    income = rng.normal(50, 10, rows)
    income[rng.random(rows) < 0.1] = np.nan
    regions = Categories(rng.integers(-1, 4, rows).astype(np.int32), ["a", "b", "c", "d"])
    bad = rng.random(rows) < 1 / (1 + np.exp(0.25 * (np.nan_to_num(income, nan=45) - 42)))
    return Table(rows, {"income": income, "age": rng.integers(18, 80, rows).astype(float)}, {"region": regions}, bad.astype(np.int8))


def model_of(family: str, method: str = "zscore", seed: int = 0) -> StoredModel:
    """A model with random weights over a specification that four banks agreed."""
    plan = plan_of(model={"family": family, "hidden": [8, 4]}, preprocessing__numeric=method)
    reports = []
    for i, bank in enumerate(plan.participants):
        table = table_of(500, i)
        made = statistics_report(plan, table, split_rows(plan, table), run=str(uuid.uuid4()), institution=bank, salt=bank)
        reports.append(made)
    spec = pool_statistics(plan, reports)
    flat = np.random.default_rng(seed).normal(0, 0.5, layout_of(plan, len(spec.input_names)).parameters).astype(np.float32)
    return StoredModel(str(uuid.uuid4()), 3, "0" * 64, plan, spec, flat)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["logistic", "mlp"])
def test_contributions_add_up_to_the_difference_from_the_average(family: str, method: str) -> None:
    model = model_of(family, method)
    found = attribute(model, preprocess(model.spec, table_of(200, 9)))
    assert found.contributions.shape == (200, 3)
    assert np.abs(found.residual).max() < (1e-4 if family == "logistic" else 0.1)
    assert np.abs(found.residual).mean() < 0.02


def test_the_gradient_is_torchs() -> None:
    model = model_of("mlp")
    matrix = preprocess(model.spec, table_of(20, 5))
    module, layout = build(model.plan, matrix.shape[1])
    load_flat(module.eval(), layout, model.flat)
    rows = torch.from_numpy(matrix).requires_grad_()
    module(rows).sum().backward()
    tensors = layout.unflatten(model.flat)
    ours = _gradient([tensors[f"layers.{i}.weight"] for i in range(3)], [tensors[f"layers.{i}.bias"] for i in range(3)], matrix)
    assert np.allclose(ours, rows.grad.numpy(), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_the_baseline_is_near_the_average_of_the_inputs(method: str) -> None:
    model = model_of("logistic", method)
    everybody = np.concatenate([preprocess(model.spec, table_of(500, i)) for i in range(4)])
    assert np.abs(baseline_of(model.spec) - everybody.mean(axis=0)).max() < 0.1
    slices = feature_slices(model.spec)
    assert list(slices) == ["income", "age", "region"]
    assert slices["region"].stop == everybody.shape[1]


@pytest.mark.parametrize(("family", "method"), [("scorecard", "woe"), ("mlp", "piecewise"), ("logistic", "zscore")])
def test_a_change_does_what_it_says(family: str, method: str) -> None:
    model = model_of(family, method)
    scorer = Scorer(model, Wish(reasons=3))
    table = table_of(50, 11)
    told = 0
    for prediction in scorer.score(table, [()] * 50, 1):
        assert [reason.contribution for reason in prediction.reasons] == sorted(
            (reason.contribution for reason in prediction.reasons), reverse=True
        )
        assert all(reason.contribution > 0 for reason in prediction.reasons)
        for reason in prediction.reasons:
            if reason.change:
                told += 1
                assert int(reason.change.rsplit(" ", 1)[1]) >= prediction.score - 2
    assert told > 20


def test_a_scorecards_score_is_the_sum_of_its_cards_points() -> None:
    model = model_of("scorecard")
    card = scorecard(model.plan, model.spec, model.flat)
    table = table_of(100, 3)
    logits = score(model.plan, model.flat, preprocess(model.spec, table))
    scores = [prediction.score for prediction in Scorer(model, Wish()).score(table, [()] * 100, 1)]
    exact = [card.score(float(logit)) for logit in logits]
    assert np.abs(np.array(scores) - exact).max() <= 1.5  # three rounded numbers


def test_a_reason_names_what_is_unusual() -> None:
    model = model_of("logistic", "zscore")
    model.flat[:] = 0
    model.flat[1] = -1  # a low income is a risk
    table = table_of(3, 0)
    table.numeric["income"][:] = [20.0, 80.0, 30.0]
    low, high, _ = Scorer(model, Wish(reasons=1)).score(table, [()] * 3, 1)
    assert low.reasons[0].code == "LOW-income"
    assert low.reasons[0].text.startswith("income is low: 20, typically ")
    assert high.reasons == []
    chinese = Scorer(model, Wish(reasons=1, language="zh")).score(table, [()] * 3, 1)[0]
    assert chinese.reasons[0].text.startswith("income偏低：20")


def test_the_banks_own_words_come_first(tmp_path: Path) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text('[income]\nfixed = true\n[income.LOW]\nen = "Your income of {value} is low"\nzh = "收入偏低"\n')
    model = model_of("logistic")
    model.flat[:] = 0
    model.flat[1] = -1
    table = table_of(1, 0)
    table.numeric["income"][:] = 20.0
    reason = Scorer(model, Wish(wording=read_wording(path))).score(table, [()], 1)[0].reasons[0]
    assert (reason.text, reason.change) == ("Your income of 20 is low", "")


@pytest.mark.parametrize("text", ["income = 3", "[income]\nlow = 1", "[income.LOW]\nfr = 'bas'", "[income", "[income]\nfixed = 'yes'"])
def test_a_wording_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text(text)
    with pytest.raises(PolicyInvalid):
        read_wording(path)


def test_every_kind_has_both_languages() -> None:
    assert set(CATALOGUE) == set(Kind)
    fields: Any = {"feature": "x", "value": "1", "typical": "2"}
    for sentences in CATALOGUE.values():
        assert set(sentences) == {"en", "zh"}
        assert all(text.format(**fields) for text in sentences.values())
