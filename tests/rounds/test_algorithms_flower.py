"""The same updates through Flower's strategies and ours give the same models, over four rounds, where Flower is installed.

Flower is no requirement of ours: run this file from an environment that has it, for example with
``pip install flwr pytest pydantic rfc8785`` and ``python -m pytest --noconftest -p no:django -c /dev/null --rootdir . FILE``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.rounds.rows import next_of

flower = pytest.importorskip("flwr.server.strategy", reason="Flower is not installed here")

from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays  # noqa: E402

BANKS, WIDTH, ROUNDS = 7, 5000, 4
ROWS = np.array([100, 400, 250, 50, 120, 300, 80])


def drawn(round_number: int) -> np.ndarray:
    return (0.02 * np.random.default_rng(round_number).standard_normal((BANKS, WIDTH))).astype(np.float32)


def flowers_path(strategy: Any) -> list[np.ndarray]:
    """Its model after each round; each bank's weights are the last model plus the drawn difference."""
    weights, path = np.zeros(WIDTH, np.float32), []
    for number in range(1, ROUNDS + 1):
        results = [
            (SimpleNamespace(cid=str(k)), FitRes(Status(Code.OK, ""), ndarrays_to_parameters([weights + d]), int(n), {}))
            for k, (d, n) in enumerate(zip(drawn(number), ROWS, strict=True))
        ]
        parameters, _ = strategy.aggregate_fit(number, results, [])
        weights = parameters_to_ndarrays(parameters)[0].astype(np.float32)
        path.append(weights)
    return path


def our_path(folder: Path, name: str, shares: np.ndarray, **numbers: float) -> list[np.ndarray]:
    weights, path, state = np.zeros(WIDTH, np.float32), [], None
    for number in range(1, ROUNDS + 1):
        updates = (weights + drawn(number)) - weights  # as Flower's banks round them
        known = {"weights": shares, "rows": ROWS, "round": number}
        found = next_of(folder, name, updates, base=weights, state=state, known=known, **numbers)
        weights, state = found.weights, found.state_path
        path.append(weights)
    return path


def start() -> Any:
    return ndarrays_to_parameters([np.zeros(WIDTH, np.float32)])


BY_ROWS = ROWS / ROWS.sum()
PAIRS: dict[str, tuple[Callable[[], Any], np.ndarray, dict[str, float]]] = {
    "fedavg": (lambda: flower.FedAvg(), BY_ROWS, {}),
    "fedavgm": (
        lambda: flower.FedAvgM(server_momentum=0.9, server_learning_rate=0.5, initial_parameters=start()), BY_ROWS,
        {"momentum": 0.9, "server_learning_rate": 0.5},
    ),
    "fedadagrad": (
        lambda: flower.FedAdagrad(initial_parameters=start(), eta=0.1, tau=1e-3), BY_ROWS, {"server_learning_rate": 0.1},
    ),
    "fedadam": (
        lambda: flower.FedAdam(initial_parameters=start(), eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3), BY_ROWS,
        {"server_learning_rate": 0.1, "momentum": 0.9},
    ),
    "fedyogi": (
        lambda: flower.FedYogi(initial_parameters=start(), eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3), BY_ROWS,
        {"server_learning_rate": 0.1, "momentum": 0.9},
    ),
    "median": (lambda: flower.FedMedian(), BY_ROWS, {}),
    "trimmed_mean": (lambda: flower.FedTrimmedAvg(beta=0.2), BY_ROWS, {"trim": 0.2}),
    "krum": (lambda: flower.Krum(num_malicious_clients=1), BY_ROWS, {"byzantine": 1}),
}


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_ours_goes_where_flowers_goes(tmp_path, name):
    theirs, shares, numbers = PAIRS[name]
    for ours, other in zip(our_path(tmp_path, name, shares, **numbers), flowers_path(theirs()), strict=True):
        assert np.abs(ours - other).max() <= 2e-6 * max(1.0, np.abs(other).max())
        assert np.abs(other).max() > 1e-3


def test_qfedavg_divides_as_flower_does(tmp_path):
    from flwr.serverapp.strategy.qfedavg import compute_delta_and_h

    losses, rate, q = np.linspace(0.2, 0.9, BANKS), 0.05, 0.7
    base = np.zeros(WIDTH, np.float32)
    pairs = [
        compute_delta_and_h([base.copy()], [base + d], q, 1 / rate, loss) for d, loss in zip(drawn(1), losses, strict=True)
    ]
    theirs = base - sum(delta[0] for delta, _ in pairs) / sum(h for _, h in pairs)
    ours = next_of(tmp_path, "qfedavg", drawn(1), known={"losses": losses}, q=q, server_learning_rate=rate)
    assert np.abs(ours.weights - theirs).max() < 1e-6
