"""What a bank makes of a round: the vectors that leave under each strategy and codec, and what it goes on from next time."""

from __future__ import annotations

import io

import numpy as np
import pytest

from clientagent.preparation.preprocess import Inputs
from clientagent.training.contribution import contribute, outgoing
from clientagent.training.memory import Memory, own_layout
from clientagent.training.newton import logistic_sums, optimum
from clientagent.training.strategies import Given
from clientagent.wire.codecs import decode
from clientagent.wire.errors import OwnStateLost
from clientagent.wire.plan import Plan
from clientagent.wire.strategies import uplink_layout
from clientagent.wire.weights import initial_weights, layout_of
from tests.wire.given import a_plan

INPUTS = 4
MLP = {"family": "mlp", "hidden": [5], "dropout": 0.0}


def rows(count: int = 200, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(count, INPUTS)).astype(np.float32)
    bad = rng.random(count) < 1 / (1 + np.exp(1 - matrix @ np.array([1.0, -1.0, 0.5, 0.0])))
    return Inputs(matrix, bad.astype(np.int8))


def a_round(plan: Plan, *, own=None, server=None, base=None, seed: int = 3):
    start = initial_weights(plan, INPUTS) if base is None else base
    given = Given(base=start, share=0.5, participants=2, own=own or {}, server=server or {})
    made = contribute(plan, given, rows(), round_number=1, seed=seed)
    return made, outgoing(plan, given, made, INPUTS, seed=seed)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "scaffold", "feddyn", "ditto", "qfedavg", "newton"])
def test_the_same_round_makes_the_same_bytes(name):
    plan = a_plan(strategy={"name": name}, model={"family": "logistic"} if name == "newton" else MLP)
    assert a_round(plan)[1].data == a_round(plan)[1].data


@pytest.mark.parametrize("codec", ["bfloat16", "int8", "topk"])
def test_the_norm_that_is_told_is_that_of_what_the_portal_will_read(codec):
    plan = a_plan(model=MLP, compression={"codec": codec, "share": 0.2})
    _made, out = a_round(plan)
    read = np.concatenate(list(decode(io.BytesIO(out.data), plan.compression, uplink_layout(plan, INPUTS).parameters)))
    assert out.norm == pytest.approx(float(np.linalg.norm(read.astype(np.float64))))


def test_topk_keeps_what_it_left_out_and_sends_it_later():
    plan = a_plan(model=MLP, compression={"codec": "topk", "share": 0.2})
    made, first = a_round(plan)
    assert np.count_nonzero(first.own["residual"]) > 0
    again, second = a_round(plan, own=first.own)
    assert again.flat.tobytes() == made.flat.tobytes()
    size = uplink_layout(plan, INPUTS).parameters
    sent = sum(np.concatenate(list(decode(io.BytesIO(out.data), plan.compression, size))) for out in (first, second))
    assert np.allclose(sent + second.own["residual"], 2 * made.flat, atol=1e-6)


def test_fedprox_with_a_strong_pull_moves_less():
    weak = a_round(a_plan(strategy={"name": "fedprox", "mu": 0.0}, model=MLP, training={"epochs": 3}))[1]
    strong = a_round(a_plan(strategy={"name": "fedprox", "mu": 50.0}, model=MLP, training={"epochs": 3}))[1]
    assert strong.norm < weak.norm


def test_scaffold_sends_control_and_update_and_keeps_its_control():
    plan = a_plan(strategy={"name": "scaffold"}, model=MLP)
    made, out = a_round(plan)
    size = layout_of(plan, INPUTS).parameters
    assert made.flat.shape == (2 * size,)
    sent = uplink_layout(plan, INPUTS).unflatten(made.flat)
    assert out.own["control"].tobytes() == sent["control"].tobytes()
    assert sent["control"].any()


def test_dittos_personal_model_stays_and_goes_on():
    plan = a_plan(strategy={"name": "ditto", "mu": 0.01}, model=MLP)
    made, out = a_round(plan)
    later, _ = a_round(plan, own=out.own)
    assert made.flat.tobytes() == later.flat.tobytes(), "what leaves does not depend on what stays"
    assert not np.array_equal(later.personal, made.personal)
    assert made.flat.shape == made.personal.shape


def test_qfedavg_and_newton_tell_the_loss_of_the_base_and_others_do_not():
    assert a_round(a_plan(strategy={"name": "qfedavg"}, model=MLP))[0].base_loss == pytest.approx(0.69, abs=0.1)
    assert a_round(a_plan(strategy={"name": "newton"}, model={"family": "logistic"}))[0].base_loss == pytest.approx(np.log(2))
    assert a_round(a_plan(model=MLP))[0].base_loss is None


def test_newton_takes_no_step_and_sends_the_sums_of_its_rows():
    plan = a_plan(strategy={"name": "newton"}, model={"family": "logistic"})
    made, out = a_round(plan)
    assert made.steps == 0
    sums = logistic_sums(initial_weights(plan, INPUTS), rows().matrix, rows().labels)
    assert uplink_layout(plan, INPUTS).unflatten(made.flat)["gradient"].tolist() == sums.vectors["gradient"].tolist()
    assert len(out.data) == uplink_layout(plan, INPUTS).file_bytes


@pytest.mark.parametrize("ridge", [0.0, 1e-5, 0.1])
def test_the_optimum_has_no_slope(ridge):
    found = optimum(rows(2000).matrix, rows(2000).labels, ridge=ridge)
    sums = logistic_sums(found, rows(2000).matrix, rows(2000).labels)
    penalty = ridge * found
    penalty[0] = 0
    assert np.abs(sums.gradient / sums.rows + penalty).max() < 1e-4


def test_what_is_kept_with_an_update_counts_only_once_that_update_did(tmp_path):
    plan = a_plan(strategy={"name": "scaffold"}, model=MLP)
    size = layout_of(plan, INPUTS).parameters
    memory = Memory(tmp_path, own_layout(plan, size, 2 * size))
    memory.keep("a" * 64, 1, {"control": np.full(size, 1.0, np.float32)})
    memory.keep("b" * 64, 2, {"control": np.full(size, 2.0, np.float32)})
    assert memory.recall(None) == {}
    assert memory.recall("a" * 64)["control"][0] == 1
    assert memory.recall("b" * 64)["control"][0] == 2
    with pytest.raises(OwnStateLost):
        memory.recall("c" * 64)
