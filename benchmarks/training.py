"""Local training on one bank's rows: ours against the loop that tutorials show, a ``DataLoader`` over single rows; newton against
scikit-learn's ``newton-cholesky``, to the same loss."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from clientagent.preparation.preprocess import Inputs
from clientagent.training.contribution import contribute
from clientagent.training.local import Trainer, trainer_of
from clientagent.training.newton import optimum
from clientagent.training.strategies import Given
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.strategies import DEFAULTS, uplink_layout
from clientagent.wire.weights import initial_weights
from rounds.algorithms.newton import solve
from rounds.algorithms.strategy import Facts, Sums, Wide

ROWS, INPUTS, BATCH, REPEATS = 100_000, 30, 256, 3
RATE = 0.01
SHAPES = ((100_000, 30), (30_000, 200))
MOST_PASSES, LOSS_TOLERANCE = 30, 1e-9


def run() -> Iterator[str]:
    """Samples a second over one pass, the median of three, alternating with the loop that it is compared with."""
    inputs = _inputs()
    yield f"{ROWS} rows, {INPUTS} inputs, batch {BATCH}, one thread: samples a second"
    for family, path in (("logistic", "closed form"), ("logistic", "general path"), ("mlp", "general path")):
        plan = _plan(family)
        base = initial_weights(plan, INPUTS)
        make = trainer_of if path == "closed form" else Trainer
        ours, plain = _side_by_side(
            lambda make=make, plan=plan, base=base: make(plan, base, inputs, learning_rate=RATE, seed=0).epoch(),  # type: ignore[misc]
            lambda plan=plan: _plain_epoch(plan, inputs),  # type: ignore[misc]
        )
        yield f"{family}, {path}: {ROWS / ours:,.0f}; plain DataLoader loop {ROWS / plain:,.0f}; {plain / ours:.1f} times as many"
    yield from _newton()


def _newton() -> Iterator[str]:
    """Seconds from zero weights to the loss at which scikit-learn stops, the median of three, alternating."""
    from threadpoolctl import threadpool_limits

    ridge = DEFAULTS["newton"]["ridge"]
    for rows, inputs in SHAPES:
        bank = _inputs(rows, inputs)
        wide = bank.matrix.astype(np.float64)

        def loss(weights: Wide, bank: Inputs = bank, wide: Wide = wide) -> float:
            logits = wide @ weights[1:] + weights[0]
            return float(np.mean(np.logaddexp(0, logits) - bank.labels * logits) + ridge / 2 * weights[1:] @ weights[1:])

        with threadpool_limits(1):
            reached = loss(_by_scikit_learn(bank, ridge))
            passes = next(n for n in range(1, MOST_PASSES) if loss(_by_rounds(bank, n)) <= reached * (1 + LOSS_TOLERANCE))
            runs, alone = (
                _side_by_side(work, lambda bank=bank: _by_scikit_learn(bank, ridge))  # type: ignore[misc]
                for work in (lambda bank=bank, passes=passes: _by_rounds(bank, passes), lambda bank=bank: _alone(bank, ridge))  # type: ignore[misc]
            )
        yield (
            f"newton, {rows} rows, {inputs} inputs, to scikit-learn's loss: {passes} rounds of sums and steps {runs[0]:.3f} s; "
            f"the bank alone {alone[0]:.3f} s; scikit-learn newton-cholesky {runs[1]:.3f} s; "
            f"{runs[0] / runs[1]:.2f} and {alone[0] / alone[1]:.2f} times its time (target 1.5)"
        )


def _by_rounds(bank: Inputs, passes: int) -> Wide:
    """What a run of one bank computes: the agent's sums as they travel, and the portal's step."""
    plan = _plan("logistic", strategy={"name": "newton"})
    rows, size = len(bank.labels), bank.matrix.shape[1] + 1
    base, state = np.zeros(size, np.float32), {"anchor": np.zeros(size), "direction": np.zeros(size), "line": np.zeros(5)}
    layout, one = uplink_layout(plan, size - 1), np.ones(1)
    for number in range(1, passes + 1):
        made = contribute(plan, Given(base, 1.0, 1), bank, round_number=number, seed=0)
        totals = {name: part.astype(np.float64) / rows for name, part in layout.unflatten(made.flat).items()}
        losses = np.array([made.base_loss], np.float64)
        facts = Facts(plan.strategy, one, one, one * rows, one, losses, number, 1, RATE)
        step = solve(facts, Sums(base.astype(np.float64), totals, state))
        base, state = (base + step.difference).astype(np.float32), dict(step.state)
    return base.astype(np.float64)


def _alone(bank: Inputs, ridge: float) -> Wide:
    return optimum(bank.matrix, bank.labels, ridge=ridge).astype(np.float64)


def _by_scikit_learn(bank: Inputs, ridge: float) -> Wide:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1 / (ridge * len(bank.labels)), solver="newton-cholesky").fit(bank.matrix, bank.labels)
    return np.concatenate([model.intercept_, model.coef_[0]]).astype(np.float64)


def _plan(family: str, **more: object) -> Plan:
    return parse_plan({
        "project": "benchmark", "features": [{"name": "x", "kind": "numeric"}], "label": {"name": "y"},
        "participants": ["a", "b", "c"], "model": {"family": family, "hidden": [64, 32], "dropout": 0.0},
        "training": {"batch_size": BATCH}, **more,
    })  # fmt: skip


def _inputs(rows: int = ROWS, inputs: int = INPUTS) -> Inputs:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, inputs)).astype(np.float32)
    chance = 1 / (1 + np.exp(-matrix[:, :5].sum(axis=1) + 2))
    return Inputs(matrix, (rng.random(rows) < chance).astype(np.int8))


def _side_by_side(ours: Callable[[], object], plain: Callable[[], object]) -> tuple[float, float]:
    times: list[tuple[float, float]] = []
    ours()
    for _ in range(REPEATS):
        times.append((_timed(ours), _timed(plain)))
    return statistics.median(pair[0] for pair in times), statistics.median(pair[1] for pair in times)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _plain_epoch(plan: Plan, inputs: Inputs) -> float:
    """One pass as torch's own tutorial writes it: a loader that collates single rows, and its Adam."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits
    from torch.utils.data import DataLoader, TensorDataset

    from clientagent import models

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module, _ = models.build(plan, INPUTS)
    optimiser = torch.optim.Adam(module.parameters(), RATE)
    rows = TensorDataset(torch.from_numpy(inputs.matrix), torch.from_numpy(inputs.labels.astype(np.float32)))
    total = 0.0
    for matrix, labels in DataLoader(rows, BATCH, shuffle=True):
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits(module(matrix), labels)
        loss.backward()
        optimiser.step()
        total += loss.item() * len(labels)
    return total / len(rows)
