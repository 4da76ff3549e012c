"""Local training: the same inputs give the same bits, and what goes wrong has a name."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from clientagent import models
from clientagent.evaluation.scores import mean_loss, score
from clientagent.preparation.preprocess import Inputs
from clientagent.training.closed_form import LogisticTrainer
from clientagent.training.local import LocalTraining, Trainer, class_weights, train, trainer_of
from clientagent.training.optimisers import LayerAdam
from clientagent.training.strategies import Correction
from clientagent.wire.errors import NotFinite, PlanUnsupported, TensorsMismatch
from clientagent.wire.plan import Plan
from clientagent.wire.weights import initial_weights, layout_of
from tests.agent.tables import plan_of

INPUTS = 6
FAMILIES = ["logistic", "mlp"]


def inputs_of(rows: int = 500, seed: int = 0, rate: float = 0.3) -> Inputs:
    """A quarter of the inputs' signal is in a product, so that hidden layers have something to find."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, INPUTS)).astype(np.float32)
    logits = matrix[:, 0] - matrix[:, 1] + 2 * matrix[:, 2] * matrix[:, 3] + np.log(rate / (1 - rate))
    return Inputs(matrix, (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.int8))


def trained(plan: Plan, inputs: Inputs | None = None, seed: int = 1, round_number: int = 1, **options: object) -> LocalTraining:
    base = initial_weights(plan, INPUTS)
    return train(plan, base, inputs_of() if inputs is None else inputs, round_number=round_number, seed=seed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_same_inputs_give_the_same_bits(family: str, optimiser: str) -> None:
    plan = plan_of(model__family=family, training__optimiser=optimiser, training__epochs=2)
    assert trained(plan).update.tobytes() == trained(plan).update.tobytes()
    assert trained(plan).update.tobytes() != trained(plan, seed=2).update.tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_training_lowers_the_loss_on_rows_never_seen(family: str) -> None:
    plan = plan_of(model__family=family, training__epochs=10)
    base = initial_weights(plan, INPUTS)
    result = trained(plan, inputs_of(2000))
    unseen = inputs_of(2000, seed=9)
    assert mean_loss(plan, base + result.update, unseen) < mean_loss(plan, base, unseen) - 0.02
    assert result.steps == 10 * 32
    assert result.train_loss is not None


def test_an_mlp_finds_what_a_logistic_model_cannot() -> None:
    losses = {}
    for family in FAMILIES:
        plan = plan_of(model__family=family, training__epochs=20)
        flat = initial_weights(plan, INPUTS) + trained(plan, inputs_of(3000)).update
        losses[family] = mean_loss(plan, flat, inputs_of(3000, seed=9))
    assert losses["mlp"] < losses["logistic"] - 0.05


def test_no_epochs_return_the_base_and_import_no_torch() -> None:
    code = (
        "import sys, numpy as np; from clientagent.training.local import train; from clientagent.preparation.preprocess import Inputs\n"
        "from clientagent.evaluation import scores; from clientagent.preparation import statistics\n"
        "from tests.agent.tables import plan_of\n"
        "rows = Inputs(np.zeros((3, 2), np.float32), np.zeros(3, np.int8))\n"
        "done = train(plan_of(training__epochs=0), np.ones(5, np.float32), rows, round_number=1, seed=0)\n"
        "assert done.update.tolist() == [0] * 5 and (done.steps, done.train_loss) == (0, None)\n"
        "assert not {'torch', 'pyarrow', 'django'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_that_leave_the_finite_numbers_are_refused() -> None:
    plan = plan_of(training__optimiser="sgd", training__learning_rate=100.0, training__weight_decay=10.0, training__epochs=5)
    with pytest.raises(NotFinite):
        trained(plan)


def test_a_step_of_a_falling_rate_is_smaller_in_a_later_round() -> None:
    plan = plan_of(model__family="logistic", training__decay="cosine", schedule__rounds=10)
    norms = [float(np.linalg.norm(trained(plan, round_number=number).update)) for number in (1, 5, 10)]
    assert all(later < earlier for earlier, later in pairwise(norms))


def test_weight_decay_pulls_towards_zero() -> None:
    plans = [plan_of(model__family="logistic", training__epochs=5, training__weight_decay=decay) for decay in (0.0, 5.0)]
    free, held = (trained(plan).update for plan in plans)
    assert np.linalg.norm(held) < np.linalg.norm(free)


def test_balanced_classes_count_alike() -> None:
    inputs = inputs_of(1000, rate=0.1)
    plan = plan_of(model__family="logistic", training__class_weight="balanced", training__epochs=10)
    good, bad = class_weights(plan, inputs)
    assert good * (inputs.labels == 0).sum() == pytest.approx(bad * (inputs.labels == 1).sum())
    assert (good * (inputs.labels == 0).sum() + bad * (inputs.labels == 1).sum()) == pytest.approx(1000)
    logits = score(plan, trained(plan, inputs).update, inputs.matrix)
    plain = plan_of(model__family="logistic", training__epochs=10)
    assert logits.mean() > score(plain, trained(plain, inputs).update, inputs.matrix).mean() + 0.5


def test_one_class_alone_is_not_weighted() -> None:
    inputs = Inputs(inputs_of().matrix, np.zeros(500, np.int8))
    assert class_weights(plan_of(training__class_weight="balanced"), inputs) == (1.0, 1.0)


def test_focal_loss_leaves_easy_rows_alone() -> None:
    plan = plan_of(model__family="logistic", training__class_weight="focal", training__epochs=5)
    focal = trained(plan)
    plain = trained(plan_of(model__family="logistic", training__epochs=5))
    assert focal.train_loss is not None
    assert plain.train_loss is not None
    assert focal.train_loss < plain.train_loss / 2


def test_progress_is_told_seldom_and_at_the_end() -> None:
    calls: list[tuple[int, int, int, int]] = []
    result = trained(
        plan_of(model__family="logistic", training__epochs=3, training__batch_size=1), progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == (3, 3, 500, 500)
    assert len(calls) <= 2 + result.seconds / 0.2


def test_a_batch_larger_than_the_table_is_one_step() -> None:
    assert trained(plan_of(model__family="logistic", training__batch_size=1_000_000)).steps == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_module_has_the_names_and_shapes_of_the_wire(family: str) -> None:
    plan = plan_of(model__family=family)
    module, layout = models.build(plan, INPUTS)
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == layout_of(plan, INPUTS).shapes
    flat = np.arange(layout.parameters, dtype=np.float32)
    models.load_flat(module, layout, flat)
    assert np.array_equal(models.to_flat(module, layout), flat)


def test_a_logistic_model_is_one_linear_layer() -> None:
    module, _ = models.build(plan_of(model__family="logistic"), INPUTS)
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(INPUTS, 1)]


def test_a_family_without_a_module_is_refused() -> None:
    with pytest.raises(PlanUnsupported):
        models.build(plan_of(model__family="ours@" + "0" * 64), INPUTS)


def test_weights_of_another_shape_are_refused() -> None:
    plan = plan_of(model__family="mlp")
    module, layout = models.build(plan, INPUTS)
    with pytest.raises(TensorsMismatch):
        models.load_flat(module, layout_of(plan, INPUTS + 1), np.zeros(layout.parameters, np.float32))


@pytest.mark.parametrize("family", FAMILIES)
def test_numpy_and_torch_score_alike(family: str) -> None:
    plan, inputs = plan_of(model__family=family), inputs_of()
    flat = initial_weights(plan, INPUTS) + np.float32(0.1)
    module, layout = models.build(plan, INPUTS)
    models.load_flat(module, layout, flat)
    module.eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(inputs.matrix)).numpy()
    np.testing.assert_allclose(score(plan, flat, inputs.matrix), expected, rtol=1e-4, atol=1e-5)


def test_one_second_moment_for_a_tensor_of_one_weight_is_adam() -> None:
    ours, theirs = (torch.tensor([1.0], requires_grad=True) for _ in range(2))
    one, other = LayerAdam([ours], 0.1, 0.01), torch.optim.AdamW([theirs], 0.1, weight_decay=0.01)
    for step in range(20):
        for weight, optimiser in ((ours, one), (theirs, other)):
            optimiser.zero_grad()
            ((weight - 3 + step) ** 2).sum().backward()
            optimiser.step()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_an_optimiser_starts_fresh() -> None:
    plan = plan_of(model__family="mlp")
    base, inputs = initial_weights(plan, INPUTS), inputs_of()
    once = Trainer(plan, base, inputs, learning_rate=0.003, seed=3)
    once.epoch()
    again = Trainer(plan, base, inputs, learning_rate=0.003, seed=3)
    again.epoch()
    assert once.weights().tobytes() == again.weights().tobytes()


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
@pytest.mark.parametrize("changes", [{}, {"training__class_weight": "balanced"}, {"training__weight_decay": 0.5}])
@pytest.mark.parametrize("correction", [Correction(), "full"])
def test_closed_form_takes_the_steps_that_torch_takes(optimiser: str, changes: dict[str, object], correction: object) -> None:
    """One batch a pass, so that both see the rows in the same order."""
    plan = plan_of(model__family="logistic", training__optimiser=optimiser, training__batch_size=1000, **changes)
    rng = np.random.default_rng(3)
    base = rng.normal(0, 0.1, INPUTS + 1).astype(np.float32)
    if correction == "full":
        pull = rng.normal(0, 0.01, INPUTS + 1).astype(np.float32)
        correction = Correction(slope=0.1, anchor=base, pull=pull, averages=True)
    inputs, options = inputs_of(), {"learning_rate": 0.05, "seed": 3, "correction": correction}
    slow, fast = Trainer(plan, base, inputs, **options), trainer_of(plan, base, inputs, **options)  # type: ignore[arg-type]
    assert isinstance(fast, LogisticTrainer)
    for _ in range(30):
        assert fast.epoch() == pytest.approx(slow.epoch(), rel=1e-4)
    np.testing.assert_allclose(fast.weights(), slow.weights(), rtol=2e-3, atol=2e-4)
    if correction != Correction():
        assert fast.mean_gradient is not None
        np.testing.assert_allclose(fast.mean_gradient, slow.mean_gradient, rtol=1e-2, atol=1e-4)
    else:
        assert fast.mean_gradient is None


def test_a_logistic_model_is_trained_without_torch() -> None:
    code = (
        "import sys; from tests.agent.tables import plan_of, random_table\n"
        "import numpy as np; from clientagent.training.local import train; from clientagent.preparation.preprocess import Inputs\n"
        "rows = Inputs(np.ones((30, 2), np.float32), np.arange(30, dtype=np.int8) % 2)\n"
        "plan = plan_of(model__family='scorecard')\n"
        "assert train(plan, np.zeros(3, np.float32), rows, round_number=1, seed=0).steps == 1\n"
        "assert 'torch' not in sys.modules, 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
