"""Private training: what one record can do is bounded, noise is as stated, and the same key gives the same bits."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.evaluation.scores import score
from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.catalogue import balanced, gradients_of
from clientagent.privacy.clipped import ClippedSum, Clipping, clip_factors
from clientagent.privacy.dense import DenseGradients
from clientagent.privacy.dpsgd import train_privately
from clientagent.privacy.drawing import Draws, draw, draw_steps, noise_steps
from clientagent.privacy.linear import LinearGradients
from clientagent.privacy.steps import AdamSteps
from clientagent.wire.errors import NotFinite, PlanUnsupported
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.privacy.terms import record_terms
from clientagent.wire.tensors import Layout
from clientagent.wire.weights import initial_weights
from tests.agent.private import private_plan, some_rows

KEY = bytes(range(32))
FAMILIES = {"logistic": [], "mlp": [8, 4]}


def layout_for(widths: list[int]) -> Layout:
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"layers.{i}.weight": (fan_out, fan_in), f"layers.{i}.bias": (fan_out,)}
    return Layout(shapes)


def one_by_one(layout, scales, weights, rows, labels, clip, *, focal=False, class_weights=(1.0, 1.0)):
    """The definition: one backward pass a record, its norm in the metric, cut, added."""
    total = np.zeros(layout.parameters)
    for row, label in zip(rows, labels, strict=True):
        tensors = {
            name: torch.tensor(part, dtype=torch.float64, requires_grad=True)
            for name, part in layout.unflatten(weights.astype(np.float64)).items()
        }
        seen = torch.tensor(row, dtype=torch.float64)
        for layer in range(len(scales)):
            seen = tensors[f"layers.{layer}.weight"] @ seen + tensors[f"layers.{layer}.bias"]
            seen = torch.relu(seen) if layer + 1 < len(scales) else seen
        loss = torch.nn.functional.binary_cross_entropy_with_logits(seen[0], torch.tensor(float(label), dtype=torch.float64))
        loss = (1 - torch.exp(-loss)) ** 2 * loss if focal else loss
        (loss * class_weights[int(label)]).backward()
        gradients = {name: tensor.grad.numpy() for name, tensor in tensors.items()}
        squares = sum(
            np.sum(gradient**2) * (scales[int(name.split(".")[1])] ** 2 if "weight" in name else 1)
            for name, gradient in gradients.items()
        )
        flat = np.concatenate([gradients[name].reshape(-1) for name in layout.names])
        total += flat * min(1, clip / max(np.sqrt(squares), 1e-300))
    return total


@settings(max_examples=25, deadline=None)
@given(
    widths=st.sampled_from([[5, 1], [5, 7, 1], [4, 6, 3, 1]]), clip=st.sampled_from([0.05, 0.5, 50.0]), seed=st.integers(0, 99),
    focal=st.booleans(), weights=st.sampled_from([(1.0, 1.0), (0.6, 4.0)]),
)  # fmt: skip
def test_the_fast_path_sums_what_one_backward_pass_a_record_sums(widths, clip, seed, focal, weights):
    rng = np.random.default_rng(seed)
    layout, scales = layout_for(widths), [0.4, 1.3, 0.8][: len(widths) - 1]
    rows = (3 * rng.normal(size=(9, widths[0]))).astype(np.float32)
    labels = (rng.random(9) < 0.4).astype(np.float32)
    flat = rng.normal(size=layout.parameters).astype(np.float32)
    fast = DenseGradients(layout, scales, focal=focal, class_weights=weights)
    summed = fast(flat, rows, labels, clip=clip, stream=Stream(KEY)).total
    slow = one_by_one(layout, scales, flat, rows, labels, clip, focal=focal, class_weights=weights)
    assert np.allclose(summed, slow, atol=1e-3 * clip + 1e-4, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(family=st.sampled_from(sorted(FAMILIES)), size=st.sampled_from([0.0, 1.0, 1e4, 1e30]), seed=st.integers(0, 99))
def test_no_record_moves_the_sum_by_more_than_the_clip(family, size, seed):
    plan = private_plan(model__family=family, model__hidden=FAMILIES[family], model__dropout=0.0)
    gradients = gradients_of(plan, inputs=5, features=3)
    inputs = some_rows(30, seed=seed)
    rows, labels = inputs.matrix.copy(), inputs.labels.astype(np.float32)
    rows[0] = size * rows[0]
    weights = np.random.default_rng(seed).normal(size=gradients.noise_scale.size).astype(np.float32)
    with_it = gradients(weights, rows, labels, clip=0.7, stream=Stream(KEY)).total
    without = gradients(weights, rows[1:], labels[1:], clip=0.7, stream=Stream(KEY)).total
    moved = np.linalg.norm((with_it - without) / gradients.noise_scale)
    assert moved <= 0.7


def test_a_record_without_a_finite_gradient_contributes_nothing():
    gradients = gradients_of(private_plan(model__family="mlp", model__hidden=[8], model__dropout=0.0), inputs=5, features=3)
    rows, labels = some_rows(30).matrix.copy(), some_rows(30).labels.astype(np.float32)
    rows[0] = np.float32(3e38)
    weights = np.ones(gradients.noise_scale.size, np.float32)
    found = gradients(weights, rows, labels, clip=1.0, stream=Stream(KEY))
    others = gradients(weights, rows[1:], labels[1:], clip=1.0, stream=Stream(KEY))
    assert np.isfinite(found.total).all()
    assert np.allclose(found.total, others.total)


def test_clipping_keeps_small_gradients_and_cuts_large_ones():
    factors = clip_factors(np.array([0.0, 0.5, 2.0, np.inf, np.nan], np.float32), 1.0)
    assert factors[:2].tolist() == [1, 1]
    assert 0.499 < factors[2] <= 0.5
    assert factors[3:].tolist() == [0, 0]


def test_each_row_is_drawn_by_itself():
    drawn = [draw(1000, 0.05, stream) for stream in [Stream(KEY)] for _ in range(400)]
    sizes = np.array([len(rows) for rows in drawn])
    assert sizes.mean() == pytest.approx(50, abs=1.5)
    assert sizes.std() == pytest.approx(np.sqrt(1000 * 0.05 * 0.95), rel=0.15), "a fixed batch would not vary"
    assert np.bincount(np.concatenate(drawn), minlength=1000).max() < 50
    assert draw(7, 1.0, Stream(KEY)).tolist() == list(range(7))


class Nothing:
    """Gradients of a model that no record moves."""

    def __init__(self, parameters: int) -> None:
        self.noise_scale = np.linspace(1, 3, parameters)
        self.batches: list[int] = []

    def __call__(self, weights, rows, labels, *, clip, stream):
        self.batches.append(len(rows))
        return ClippedSum(np.zeros(len(weights)), 0)


def test_noise_is_as_large_as_the_terms_say():
    plan = private_plan({"clip": 2.0}, training__optimiser="sgd", training__learning_rate=1.0)
    terms, nothing = record_terms(plan, 400), Nothing(20_000)
    trained = train_privately(
        plan, np.zeros(20_000, np.float32), some_rows(400), nothing, terms, round_number=1, stream=Stream(KEY)
    )
    expected = terms.noise_multiplier * 2.0 / (0.2 * 400) * np.sqrt(terms.steps)
    assert np.std(trained.update / nothing.noise_scale) == pytest.approx(expected, rel=0.02)


def test_an_empty_draw_is_a_step_like_any_other():
    plan = private_plan({"sampling": 0.01}, training__epochs=2)
    terms, nothing = record_terms(plan, 3), Nothing(4)
    trained = train_privately(plan, np.zeros(4, np.float32), some_rows(3), nothing, terms, round_number=1, stream=Stream(KEY))
    assert trained.steps == terms.steps == len(nothing.batches) == 200
    assert nothing.batches.count(0) > 150


def test_the_sum_is_divided_by_the_declared_rows_and_not_by_the_drawn_ones():
    plan = private_plan(training__optimiser="sgd", training__learning_rate=1.0)
    terms = dataclasses.replace(record_terms(plan, 400), steps=1)

    class One(Nothing):
        def __call__(self, weights, rows, labels, *, clip, stream):
            return ClippedSum(np.full(len(weights), 1e9 if len(rows) else 0.0), 0)

    few = train_privately(plan, np.zeros(2, np.float32), some_rows(40), One(2), terms, round_number=1, stream=Stream(KEY))
    assert few.update == pytest.approx(np.full(2, -1e9 / 80), rel=1e-3)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_same_key_gives_the_same_bits_and_another_key_others(family):
    plan = private_plan(model__family=family, model__hidden=FAMILIES[family])
    terms, inputs = record_terms(plan, 400), some_rows()
    gradients = gradients_of(plan, inputs=5, features=5)
    base = initial_weights(plan, 5)
    first, again, other = (
        train_privately(plan, base, inputs, gradients, terms, round_number=1, stream=Stream(key)).update
        for key in (KEY, KEY, bytes(32))
    )
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_protected_model_learns(family):
    plan = private_plan({"epsilon": 3.0}, model__family=family, model__hidden=FAMILIES[family], schedule__rounds=10)
    inputs, terms = some_rows(4000), record_terms(plan, 4000)
    gradients = gradients_of(plan, inputs=5, features=5)
    weights = initial_weights(plan, 5)
    for round_number in range(1, 11):
        stream = Stream(KEY).child(str(round_number))
        weights += train_privately(plan, weights, inputs, gradients, terms, round_number=round_number, stream=stream).update
    logits = score(plan, weights, inputs.matrix)
    assert np.mean((logits > 0) == inputs.labels) > 0.82  # 0.85 is as good as it gets


def test_progress_is_told_for_each_step_and_a_strategy_may_pull():
    plan = private_plan(training__optimiser="sgd", training__epochs=2)
    terms, told = record_terms(plan, 400), []
    inputs, base = some_rows(), initial_weights(plan, 5)
    gradients = gradients_of(plan, inputs=5, features=5)
    free = train_privately(
        plan, base, inputs, gradients, terms, round_number=1, stream=Stream(KEY), progress=lambda *where: told.append(where)
    )
    held = train_privately(
        plan, base, inputs, gradients, terms, round_number=1, stream=Stream(KEY), pull=lambda weights: 15 * (weights - base)
    )
    assert told == [(epoch, 2, batch, 5) for epoch in (1, 2) for batch in range(1, 6)]
    assert np.linalg.norm(held.update) < np.linalg.norm(free.update)


def test_weights_beyond_all_numbers_are_refused():
    plan = private_plan(training__optimiser="sgd", training__learning_rate=100.0, training__weight_decay=10.0, training__epochs=9)
    terms, inputs = record_terms(plan, 400), some_rows()
    with pytest.raises(NotFinite):
        train_privately(
            plan, initial_weights(plan, 5), inputs, gradients_of(plan, inputs=5, features=5), terms, round_number=1,
            stream=Stream(KEY),
        )  # fmt: skip


def test_adam_takes_the_known_noise_out_of_its_second_moment():
    noise, rng = np.full(2000, 0.5), np.random.default_rng(0)
    steps, weights = AdamSteps(0.1, noise, 0.0), np.zeros(2000)
    slope = np.where(np.arange(2000) < 1000, 2.0, 0.0)
    for _ in range(200):
        weights = steps.step(weights, slope + noise * rng.normal(size=2000))
    assert weights[:1000].mean() == pytest.approx(-20, rel=0.05), "a clear slope is followed at the full rate"
    assert abs(weights[1000:].mean()) < 0.5


def test_plugins_need_the_general_path():
    plan = private_plan(model__family="ours@" + "0" * 64)
    with pytest.raises(PlanUnsupported):
        gradients_of(plan, inputs=5, features=5)


def test_balanced_weights_stand_any_noised_count():
    assert balanced(100, 20.0) == (0.625, 2.5)
    for positives in (-50.0, 0.0, 100.0, 1e9):
        good, bad = balanced(100, positives)
        assert 0 < good <= 50
        assert 0 < bad <= 50


def test_training_on_no_rows_is_noise_alone():
    plan = private_plan()
    terms = record_terms(plan, 10)
    nobody = Inputs(np.zeros((0, 5), np.float32), np.zeros(0, np.int8))
    trained = train_privately(
        plan, initial_weights(plan, 5), nobody, gradients_of(plan, inputs=5, features=5), terms, round_number=1,
        stream=Stream(KEY),
    )  # fmt: skip
    assert np.linalg.norm(trained.update) > 0
    assert trained.clip_share == 0


# ------------------------------------------------------------- several steps at once
@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 40), rows=st.integers(1, 5000), rate=st.sampled_from([0.001, 0.05, 0.7, 1.0]))
def test_rows_drawn_for_many_steps_are_those_drawn_for_each(steps, rows, rate):
    one, many = Stream(bytes(32)), Stream(bytes(32))
    together = [found for some in draw_steps(steps, rows, rate, many) for found in some.each()]
    assert len(together) == steps
    for found in together:
        assert np.array_equal(found, draw(rows, rate, one))


@pytest.mark.parametrize(("steps", "parameters"), [(500, 21), (3, 70_000), (7, 1)])
def test_every_step_gets_noise_of_its_own_of_the_stated_size(steps, parameters):
    deviation = np.linspace(0.5, 2.0, parameters)
    noises = list(noise_steps(steps, deviation, Stream(bytes(32))))
    assert [noise.shape for noise in noises] == [(parameters,)] * steps
    scaled = np.concatenate(noises) / np.tile(deviation, steps)
    assert len(np.unique(scaled)) == steps * parameters
    if steps * parameters > 1000:
        assert np.std(scaled) == pytest.approx(1.0, rel=0.03)


@settings(max_examples=30, deadline=None)
@given(ends=st.lists(st.integers(0, 9), min_size=1, max_size=20), count=st.integers(1, 30))
def test_steps_that_go_together_keep_their_rows(ends, count):
    ends = np.cumsum(ends).tolist()
    draws = Draws(np.arange(ends[-1]), ends)
    parts = list(draws.at_most(count))
    assert [rows.tolist() for part in parts for rows in part.each()] == [rows.tolist() for rows in draws.each()]
    assert all(len(part.rows) <= count or len(part.ends) == 1 for part in parts)


def test_a_receipt_tells_of_a_logistic_models_clipping_what_its_definition_gives():
    plan, inputs = private_plan({"clip": 0.4}), some_rows(60)
    gradients = gradients_of(plan, inputs=5, features=3)
    assert isinstance(gradients, LinearGradients)
    weights = np.random.default_rng(3).normal(size=6).astype(np.float32)
    found = gradients(weights, inputs.matrix, inputs.labels.astype(np.float32), clip=0.4, stream=Stream(KEY))
    slopes = 1 / (1 + np.exp(-(inputs.matrix @ weights[1:] + weights[0]))) - inputs.labels
    norms = np.abs(slopes) * np.sqrt(1 + (1.5**2 / 3) * np.sum(inputs.matrix**2, axis=1))
    assert found.norms == pytest.approx(norms.sum(), rel=1e-5)
    assert found.clipped == np.count_nonzero(norms > 0.4)
    assert 0 < found.clipped < 60


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 300), focal=st.booleans(), seed=st.integers(0, 99))
def test_steps_together_sum_what_each_sums_alone(rows, focal, seed):
    layout, inputs = layout_for([5, 1]), some_rows(rows, seed=seed)
    labels, weights = inputs.labels.astype(np.float32), np.random.default_rng(seed).normal(size=6)
    linear, dense = (kind(layout, [0.4], focal=focal) for kind in (LinearGradients, DenseGradients))
    draws = list(draw_steps(7, rows, 0.3, Stream(KEY)))
    together = linear.of_steps(inputs.matrix, labels, draws, clip=0.3, tally=Clipping())
    for sum_at, drawn in zip(together, (each for some in draws for each in some.each()), strict=True):
        alone = dense(weights.astype(np.float32), inputs.matrix[drawn], labels[drawn], clip=0.3, stream=Stream(KEY))
        assert np.allclose(sum_at(weights), alone.total, atol=1e-4)
