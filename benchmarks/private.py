"""A round's training under record-level privacy beside plain training of the same rows and as many epochs, by the agent's own code.

Tables of three sizes; the plan is the default but for one epoch a round (a private pass is 20 steps, a plain one as many as batches of
64 make). Medians of many turns, alternating. The privacy ledger and the noise's calibration come once a round and once a run and
are not part of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.catalogue import gradients_of
from clientagent.privacy.dpsgd import train_privately
from clientagent.training.local import train
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.privacy.terms import record_terms
from clientagent.wire.weights import initial_weights

INPUTS, TABLES = 23, (450, 2_625, 20_000)
TARGETS = {"logistic": 3, "mlp": 5}
TURNS = {"logistic": 100, "mlp": 11}


def run() -> Iterator[str]:
    for family in TARGETS:
        for rows in TABLES:
            yield _row(family, rows)


def _row(family: str, rows: int) -> str:
    inputs = _inputs(rows)
    plain, private = _plan(family), _plan(family, privacy={"record_dp": {"epsilon": 1.0, "statistics": 0.0}})
    base, terms = initial_weights(plain, INPUTS), record_terms(private, rows)

    def privately() -> object:
        gradients = gradients_of(private, inputs=INPUTS, features=INPUTS)
        return train_privately(private, base, inputs, gradients, terms, round_number=1, stream=Stream.fresh(), progress=_heard)

    def plainly() -> object:
        return train(plain, base, inputs, round_number=1, seed=0, progress=_heard)

    ours, beside = _side_by_side(privately, plainly, TURNS[family])
    return (
        f"{family:<9}{rows:>7} rows   private {1e3 * ours:7.2f} ms   plain {1e3 * beside:7.2f} ms   "
        f"{ours / beside:5.2f} x (target below {TARGETS[family]})"
    )


def _heard(epoch: int, epochs: int, batch: int, batches: int) -> None:
    """Progress, as an agent asks for it."""


def _side_by_side(ours: Callable[[], object], beside: Callable[[], object], turns: int) -> tuple[float, float]:
    times = [(_timed(ours), _timed(beside)) for _ in range(turns + 1)][1:]
    return statistics.median(pair[0] for pair in times), statistics.median(pair[1] for pair in times)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _plan(family: str, **more: object) -> Plan:
    return parse_plan({
        "project": "benchmark", "features": [{"name": f"x{i}", "kind": "numeric"} for i in range(INPUTS)], "label": {"name": "y"},
        "participants": ["a", "b", "c"], "model": {"family": family}, "training": {"epochs": 1}, "schedule": {"select": "last"}, **more,
    })  # fmt: skip


def _inputs(rows: int) -> Inputs:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(rows, INPUTS)).astype(np.float32)
    chance = 1 / (1 + np.exp(-matrix[:, :5].sum(axis=1) + 2))
    return Inputs(matrix, (rng.random(rows) < chance).astype(np.int8))
