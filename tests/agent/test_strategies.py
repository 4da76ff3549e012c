"""What strategies ask of a bank: gradients corrected as the papers say, what leaves, what stays, and where it converges."""

from __future__ import annotations

import numpy as np
import pytest

from clientagent.training.compression import compress
from clientagent.training.corrections import Corrector
from clientagent.training.newton import logistic_sums
from clientagent.training.strategies import Correction, Given, beside, correction, own_after, personal_start
from clientagent.wire.plan import Compression, Plan
from clientagent.wire.tensors import Layout, pack
from tests.wire.given import a_plan

LAYOUT = Layout({"layers.0.bias": (1,), "layers.0.weight": (1, 2)})
BASE = np.array([0.5, 1.0, -2.0], np.float32)


def vector(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def given(base: np.ndarray = BASE, **more: object) -> Given:
    return Given(**{"base": base, "share": 0.5, "participants": 2, **more})


# ------------------------------------------------------------------------ what is added to a gradient
def applied(found: Correction, weights: np.ndarray, gradient: np.ndarray) -> list[float]:
    result = gradient.astype(np.float64)
    if found.slope:
        result = result + found.slope * (weights - found.anchor)
    return (result if found.pull is None else result + found.pull).tolist()


def test_fedavg_adds_nothing():
    assert correction(a_plan(), given()).is_idle


def test_fedprox_pulls_towards_the_base():
    found = correction(a_plan(strategy={"name": "fedprox", "mu": 0.5}), given())
    assert applied(found, vector(1.5, 1.0, 0.0), vector(1.0, 1.0, 1.0)) == [1.5, 1.0, 2.0]


def test_scaffold_adds_the_common_control_and_takes_away_its_own():
    plan = a_plan(strategy__name="scaffold")
    found = correction(plan, given(server={"control": vector(1, 2, 3)}, own={"control": vector(0.5, 0, 4)}))
    assert applied(found, BASE, vector(10.0, 10.0, 10.0)) == [10.5, 12.0, 9.0]
    assert found.averages


def test_scaffold_starts_from_controls_of_zero():
    assert applied(correction(a_plan(strategy__name="scaffold"), given()), BASE, vector(1, 2, 3)) == [1, 2, 3]


def test_feddyn_subtracts_past_gradients_and_pulls_towards_the_base():
    plan = a_plan(strategy={"name": "feddyn", "mu": 0.1})
    found = correction(plan, given(own={"gradient": vector(1, 0, 0)}))
    assert applied(found, vector(1.5, 1.0, -2.0), vector(0, 0, 0)) == pytest.approx([-1 + 0.1, 0, 0])


def test_feddyn_holds_a_bank_whose_rows_count_less_more_firmly():
    plan = a_plan(strategy={"name": "feddyn", "mu": 0.1})
    assert correction(plan, given(share=0.25)).slope == pytest.approx(0.2)
    assert correction(plan, given(share=0.0)).slope == pytest.approx(0.1)


# ------------------------------------------------------------------------ what leaves, what stays
def test_scaffold_sends_the_change_of_its_control_and_keeps_the_new_one():
    plan, state = a_plan(strategy__name="scaffold"), given(own={"control": vector(1, 1, 1)})
    found = beside(plan, state, vector(3, 0, 1))
    assert found["control"].tolist() == [2, -1, 0]
    assert own_after(plan, state, {"update": vector(0, 0, 0), **found})["control"].tolist() == [3, 0, 1]


def test_scaffold_keeps_what_the_portal_has_read_and_not_what_a_codec_left_out():
    plan, state = a_plan(strategy__name="scaffold"), given(own={"control": vector(1, 1, 1)})
    assert own_after(plan, state, {"update": BASE, "control": vector(2, 0, 0)})["control"].tolist() == [3, 1, 1]


def test_scaffold_without_a_step_changes_nothing():
    plan, state = a_plan(strategy__name="scaffold"), given(own={"control": vector(1, 1, 1)})
    assert beside(plan, state, None)["control"].tolist() == [0, 0, 0]


def test_for_sgd_the_mean_gradient_is_the_papers_option_two():
    """c_i+ = c_i - c + (x - y) / (K eta), worked out along a path of K = 5 steps."""
    plan, rate, steps = a_plan(strategy__name="scaffold"), 0.1, 5
    state = given(server={"control": vector(0.3, -0.1, 0.2)}, own={"control": vector(0.1, 0.1, 0.0)})
    added = correction(plan, state)
    y, total = BASE.astype(np.float64), np.zeros(3)
    for k in range(steps):
        gradient = np.array([1.0, 2.0, 3.0]) * y + k
        total += gradient
        y = y - rate * (gradient + added.pull)
    found = own_after(plan, state, beside(plan, state, (total / steps).astype(np.float32)))
    by_paper = state.own["control"] - state.server["control"] + (BASE - y) / (steps * rate)
    assert found["control"] == pytest.approx(by_paper, abs=1e-5)


def test_feddyn_keeps_its_gradient_at_the_end_of_its_way():
    plan = a_plan(strategy={"name": "feddyn", "mu": 0.5})
    found = own_after(plan, given(own={"gradient": vector(1, 1, 1)}), {"update": vector(2, 0, -2)})
    assert found["gradient"].tolist() == [0, 1, 2]
    assert beside(plan, given(), vector(1, 1, 1)) == {}


def test_ditto_starts_its_personal_model_from_the_base_and_goes_on_from_its_own():
    plan = a_plan(strategy={"name": "ditto", "mu": 0.3})
    first = personal_start(plan, given())
    later = personal_start(plan, given(own={"personal": vector(7, 7, 7)}))
    assert first is not None
    assert later is not None
    assert first[0].tolist() == BASE.tolist()
    assert later[0].tolist() == [7, 7, 7]
    assert (later[1].slope, later[1].anchor.tolist()) == (0.3, BASE.tolist())
    assert own_after(plan, given(), {"update": BASE}, vector(8, 8, 8))["personal"].tolist() == [8, 8, 8]
    assert personal_start(a_plan(), given()) is None


# ------------------------------------------------------------------------ where it converges
CURVES, MINIMA = np.array([1.0, 10.0]), np.array([0.0, 1.0])
"""Two banks whose losses are c/2 (w - m)^2. Both together are least at 10/11."""


def federated_minimum(plan: Plan, rounds: int = 400) -> float:
    """Twenty local steps a round; the portal's part is written out here for one weight."""
    w, control, drift = 0.0, 0.0, 0.0
    own: list[dict] = [{}, {}]
    for _ in range(rounds):
        differences, changes = [], []
        for k in range(2):
            state = given(vector(w), server={"control": vector(control)}, own=own[k])
            added, y, met = correction(plan, state), w, []
            for _step in range(20):
                met.append(CURVES[k] * (y - MINIMA[k]))
                y -= 0.02 * applied(added, np.array([y]), np.array([met[-1]]))[0]
            sent = {"update": vector(y - w), **beside(plan, state, vector(float(np.mean(met))))}
            own[k] = own_after(plan, state, sent)
            differences.append(y - w)
            changes.append(float(sent.get("control", vector(0))[0]))
        control += sum(changes) / 2
        drift += sum(differences) / 2 if plan.strategy.name == "feddyn" else 0.0
        w += sum(differences) / 2 + drift
    return w


def test_fedavg_stops_short_of_the_common_minimum():
    assert abs(federated_minimum(a_plan()) - 10 / 11) > 0.05


@pytest.mark.parametrize(("name", "numbers"), [("scaffold", {}), ("feddyn", {"mu": 1.0})])
def test_scaffold_and_feddyn_reach_it(name, numbers):
    assert federated_minimum(a_plan(strategy={"name": name, **numbers})) == pytest.approx(10 / 11, abs=1e-3)


# ------------------------------------------------------------------------ torch
def module_at(flat: np.ndarray):
    torch = pytest.importorskip("torch")
    module = torch.nn.Module()
    module.layers = torch.nn.ModuleList([torch.nn.Linear(2, 1)])
    parts = LAYOUT.unflatten(flat)
    module.load_state_dict({name: torch.tensor(part) for name, part in parts.items()})
    return module


def with_gradient(module, flat: np.ndarray) -> None:
    import torch

    parts = LAYOUT.unflatten(flat)
    for name, parameter in module.named_parameters():
        parameter.grad = torch.tensor(parts[name])


def gradient_of(module) -> list[float]:
    return LAYOUT.flatten({name: parameter.grad.numpy() for name, parameter in module.named_parameters()}).tolist()


def test_a_module_is_corrected_as_the_flat_vector_says():
    module = module_at(vector(1, 2, 3))
    corrector = Corrector(Correction(0.5, vector(0, 0, 1), vector(1, -1, 0), averages=True), module, LAYOUT)
    with_gradient(module, vector(10, 20, 30))
    corrector()
    assert gradient_of(module) == [10 + 0.5 + 1, 20 + 1 - 1, 30 + 1]
    with_gradient(module, vector(20, 40, 60))
    corrector()
    assert corrector.mean_gradient.tolist() == [15, 30, 45]


def test_an_idle_correction_touches_nothing():
    module = module_at(vector(1, 2, 3))
    corrector = Corrector(Correction(), module, LAYOUT)
    with_gradient(module, vector(10, 20, 30))
    corrector()
    assert gradient_of(module) == [10, 20, 30]
    assert corrector.mean_gradient is None


# ------------------------------------------------------------------------ second order
def rows_of(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 3)).astype(np.float32), (rng.random(count) < 0.3).astype(np.int8)


def loss_at(weights: np.ndarray, matrix: np.ndarray, labels: np.ndarray, good: float, bad: float) -> float:
    logits = weights[0] + matrix.astype(np.float64) @ weights[1:]
    return float(np.sum(np.where(labels > 0, bad, good) * (np.logaddexp(0, logits) - labels * logits)))


@pytest.mark.parametrize(("good", "bad"), [(1.0, 1.0), (0.7, 2.5)])
@pytest.mark.parametrize("count", [1, 50, 5000])
def test_newtons_sums_are_the_derivatives_of_the_summed_loss(count, good, bad):
    matrix, labels = rows_of(count)
    weights, step = np.array([-0.5, 0.3, 0.1, -0.7]), 1e-2
    found = logistic_sums(weights.astype(np.float32), matrix, labels, good_weight=good, bad_weight=bad)
    assert found.loss == pytest.approx(loss_at(weights, matrix, labels, good, bad), rel=1e-6)
    for i, move in enumerate(np.eye(4) * step):
        up, down = (logistic_sums((weights + s * move), matrix, labels, good_weight=good, bad_weight=bad) for s in (1, -1))
        ahead, behind = (loss_at(weights + s * move, matrix, labels, good, bad) for s in (1, -1))
        slope = (ahead - behind) / (2 * step)
        assert found.gradient[i] == pytest.approx(slope, rel=1e-3, abs=1e-3 * count)
        assert found.hessian[i] == pytest.approx((up.gradient - down.gradient) / (2 * step), rel=1e-3, abs=1e-3 * count)


def test_newtons_sums_travel_as_gradient_and_upper_triangle():
    found = logistic_sums(np.zeros(4, np.float32), *rows_of(20))
    assert found.vectors["hessian"].tolist() == pytest.approx([found.hessian[i, j] for i in range(4) for j in range(i, 4)])
    assert found.mean_loss == pytest.approx(np.log(2))
    assert logistic_sums(np.zeros(4, np.float32), *rows_of(0)).mean_loss is None


def test_scores_far_out_do_not_overflow():
    matrix = np.full((4, 3), 1e4, np.float32)
    found = logistic_sums(np.full(4, 10, np.float32), matrix, np.array([0, 1, 0, 1]))
    assert np.isfinite(found.hessian).all()
    assert found.loss == pytest.approx(2 * 3e5, rel=1e-3)


# ------------------------------------------------------------------------ error feedback
def test_topk_sends_in_the_end_all_that_it_left_out():
    rng = np.random.default_rng(0)
    layout, compression = Layout({"w": (1000,)}), Compression(codec="topk", share=0.1)
    wanted, sent, residual = np.zeros(1000), np.zeros(1000), None
    for _ in range(30):
        update = rng.standard_normal(1000).astype(np.float32)
        found = compress(update, layout, compression, residual=residual, random=rng)
        wanted, sent, residual = wanted + update, sent + found.sent, found.residual
    assert sent + residual == pytest.approx(wanted, abs=1e-4)
    assert np.linalg.norm(residual) < 0.7 * np.linalg.norm(wanted)


@pytest.mark.parametrize("codec", ["none", "bfloat16", "int8"])
def test_only_topk_keeps_a_residual(codec):
    layout, update = Layout({"w": (100,)}), np.ones(100, np.float32)
    found = compress(update, layout, Compression(codec=codec), residual=None, random=np.random.default_rng(0))
    assert found.residual is None
    if codec == "none":
        assert found.data == pack(update, layout)
