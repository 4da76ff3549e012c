"""Local training on one bank's rows: ours against the loop that tutorials show, a ``DataLoader`` over single rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from clientagent.preparation.preprocess import Inputs
from clientagent.training.local import Trainer, trainer_of
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.weights import initial_weights

ROWS, INPUTS, BATCH, REPEATS = 100_000, 30, 256, 3
RATE = 0.01


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


def _plan(family: str) -> Plan:
    return parse_plan({
        "project": "benchmark", "features": [{"name": "x", "kind": "numeric"}], "label": {"name": "y"},
        "participants": ["a", "b", "c"], "model": {"family": family, "hidden": [64, 32], "dropout": 0.0},
        "training": {"batch_size": BATCH},
    })  # fmt: skip


def _inputs() -> Inputs:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(ROWS, INPUTS)).astype(np.float32)
    chance = 1 / (1 + np.exp(-matrix[:, :5].sum(axis=1) + 2))
    return Inputs(matrix, (rng.random(ROWS) < chance).astype(np.int8))


def _side_by_side(ours: Callable[[], float], plain: Callable[[], float]) -> tuple[float, float]:
    times: list[tuple[float, float]] = []
    ours()
    for _ in range(REPEATS):
        times.append((_timed(ours), _timed(plain)))
    return statistics.median(pair[0] for pair in times), statistics.median(pair[1] for pair in times)


def _timed(work: Callable[[], float]) -> float:
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
