"""Evaluation leaves counts by score bin, none of them small, and a loss: no customer's score."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.evaluation.scores import evaluate, losses, probabilities, score, split_counts
from clientagent.preparation.preprocess import Inputs, Prepared
from clientagent.wire.errors import NotFinite
from clientagent.wire.metrics import auc, count, from_sparse, metrics_of
from clientagent.wire.weights import initial_weights
from tests.agent.tables import plan_of

DIGEST = "0" * 64


def scored(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(np.int8)
    return rng.normal(size=rows) + labels, labels


def test_counts_keep_the_metrics_of_the_scores() -> None:
    logits, labels = scored(5000)
    said = split_counts(plan_of(), logits, labels)
    counts = from_sparse(said, 1000)
    assert auc(counts) == pytest.approx(auc(count(logits, labels, 100_000)), abs=0.002)
    assert metrics_of(counts, said.loss_sum, said.rows).loss == pytest.approx(losses(logits, labels).mean(), rel=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_no_bin_is_small_and_no_customer_is_lost(rows: int, min_cell: int, seed: int) -> None:
    logits, labels = scored(rows, seed)
    said = split_counts(plan_of(privacy__min_cell=min_cell), logits, labels)
    assert all(good + bad >= min_cell for _, good, bad in said.bins)
    assert sum(good + bad for _, good, bad in said.bins) == (rows if rows >= min_cell else 0)


def test_too_few_customers_leave_nothing_but_their_number() -> None:
    said = split_counts(plan_of(), *scored(4))
    assert (said.rows, said.loss_sum, said.bins) == (4, 0.0, [])


def test_both_splits_of_a_version_are_counted() -> None:
    plan = plan_of(model__family="logistic")
    rng = np.random.default_rng(0)
    parts = [Inputs(rng.normal(size=(n, 3)).astype(np.float32), (rng.random(n) < 0.4).astype(np.int8)) for n in (70, 10, 20)]
    said = evaluate(plan, initial_weights(plan, 3), Prepared(*parts), number=4, version_digest=DIGEST)
    assert (said.number, said.validation.rows, said.holdout.rows) == (4, 10, 20)
    assert said.holdout.loss_sum == pytest.approx(20 * np.log(2), rel=1e-8)


def test_losses_and_probabilities_hold_at_the_extremes() -> None:
    logits, labels = np.array([0.0, 1e4, -1e4, 1e4]), np.array([0, 1, 0, 0], np.int8)
    assert losses(logits, labels).tolist() == pytest.approx([np.log(2), 0, 0, 1e4])
    assert probabilities(logits).tolist() == [0.5, 1, 0, 1]


def test_scores_that_are_not_finite_are_refused() -> None:
    plan = plan_of(model__family="mlp")
    flat = np.full_like(initial_weights(plan, 3), 3e38)
    with pytest.raises(NotFinite, match="finite scores"):
        score(plan, flat, np.ones((5, 3), np.float32))


def test_a_table_longer_than_a_block_is_scored_whole() -> None:
    plan = plan_of(model__family="mlp")
    matrix = np.random.default_rng(0).normal(size=(70_000, 3)).astype(np.float32)
    flat = initial_weights(plan, 3)
    np.testing.assert_allclose(score(plan, flat, matrix)[-100:], score(plan, flat, matrix[-100:]), rtol=1e-5, atol=1e-6)


def test_no_rows_have_no_scores() -> None:
    plan = plan_of(model__family="mlp")
    assert score(plan, initial_weights(plan, 3), np.zeros((0, 3), np.float32)).shape == (0,)
