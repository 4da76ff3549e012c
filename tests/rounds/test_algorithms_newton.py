"""Newton from summed gradients and Hessians reaches the optimum of all rows together, and takes back a step that went too far."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clientagent.wire.strategies import LARGEST_NEWTON
from rounds.algorithms.cholesky import solve
from tests.rounds.rows import Next, next_of

Numbers = np.ndarray


class Table:
    """Rows of several banks with a logistic truth; the first input is the constant 1."""

    def __init__(self, *, rows: tuple[int, ...] = (300, 500, 800), inputs: int = 4, seed: int = 0, scale: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        truth = rng.standard_normal(inputs + 1)
        self.parts = []
        for k, n in enumerate(rows):
            matrix = np.concatenate([np.ones((n, 1)), scale * (rng.standard_normal((n, inputs)) + 0.3 * k)], axis=1)
            self.parts.append((matrix, (rng.random(n) < chance(matrix @ truth)).astype(float)))

    @property
    def together(self) -> tuple[Numbers, Numbers]:
        return np.concatenate([x for x, _ in self.parts]), np.concatenate([y for _, y in self.parts])


def chance(logits: Numbers) -> Numbers:
    return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))


def loss(weights: Numbers, matrix: Numbers, labels: Numbers, ridge: float = 0.0) -> float:
    logits = matrix @ weights
    return float(np.mean(np.logaddexp(0, logits) - labels * logits) + ridge / 2 * np.sum(weights[1:] ** 2))


def sums(weights: Numbers, matrix: Numbers, labels: Numbers) -> tuple[Numbers, Numbers]:
    p = chance(matrix @ weights)
    hessian = (matrix * (p * (1 - p))[:, None]).T @ matrix
    return matrix.T @ (p - labels), hessian[np.triu_indices(len(weights))]


def one_round(folder: Path, table: Table, weights: Numbers, state: Path | None, **numbers: float) -> Next:
    found = [sums(weights, *part) for part in table.parts]
    rows = np.array([len(y) for _, y in table.parts], float)
    return next_of(
        folder, "newton", None, base=weights, state=state,
        extra={"gradient": [g for g, _ in found], "hessian": [h for _, h in found]},
        known={"rows": rows, "weights": rows / rows.sum(), "losses": [loss(weights, *part) for part in table.parts]}, **numbers,
    )


def rounds_of(folder: Path, table: Table, rounds: int, start: Numbers | None = None, **numbers: float) -> list[Numbers]:
    weights = np.zeros(table.parts[0][0].shape[1], np.float32) if start is None else start.astype(np.float32)
    state, path = None, [weights]
    for _ in range(rounds):
        found = one_round(folder, table, path[-1], state, **numbers)
        path.append(found.weights)
        state = found.state_path
    return path


def optimum(table: Table, ridge: float) -> Numbers:
    matrix, labels = table.together
    penalty = np.diag([0.0] + [ridge] * (matrix.shape[1] - 1))
    weights = np.zeros(matrix.shape[1])
    for _ in range(100):
        p = chance(matrix @ weights)
        hessian = (matrix * (p * (1 - p))[:, None]).T @ matrix / len(labels) + penalty
        weights = weights - np.linalg.solve(hessian, matrix.T @ (p - labels) / len(labels) + penalty @ weights)
    return weights


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_eight_rounds_reach_the_optimum_of_all_rows_together(tmp_path, ridge):
    table = Table()
    found = rounds_of(tmp_path, table, 8, ridge=ridge)[-1]
    assert found == pytest.approx(optimum(table, ridge), abs=1e-5)


def test_a_bank_counts_by_its_weight_whatever_its_rows(tmp_path):
    table = Table(rows=(100, 100))
    twice = Table(rows=(100, 100))
    twice.parts = [*table.parts, table.parts[1]]
    found = [sums(np.zeros(5), *part) for part in table.parts]
    known = {"rows": [100, 100], "weights": [1 / 3, 2 / 3], "losses": [0.69, 0.69]}
    weighted = next_of(
        tmp_path, "newton", None, base=np.zeros(5), known=known,
        extra={"gradient": [g for g, _ in found], "hessian": [h for _, h in found]},
    )
    assert weighted.difference == pytest.approx(one_round(tmp_path, twice, np.zeros(5), None).difference, rel=1e-5)


def test_a_step_that_raised_the_loss_is_taken_back_and_shortened(tmp_path):
    table = Table(scale=3.0)
    far = np.array([1.0, -1.0, 1.0, -1.0, 1.0])
    path = rounds_of(tmp_path, table, 12, start=far)
    losses = [loss(weights.astype(float), *table.together) for weights in path]
    raised = [k for k in range(1, len(losses) - 1) if losses[k] > losses[k - 1] * 1.001]
    assert raised, "a full step from so far away overshoots"
    for k in raised:
        assert losses[k + 1] < losses[k]
    assert path[-1] == pytest.approx(optimum(table, 1e-5), abs=1e-3)


def test_the_loss_of_other_banks_does_not_take_a_step_back(tmp_path):
    table, fewer = Table(), Table()
    first = one_round(tmp_path, table, np.zeros(5), None)
    fewer.parts = [(x, 1 - y) for x, y in table.parts[:2]]  # a round of two banks, on which the step did badly
    second = one_round(tmp_path, fewer, first.weights, first.state_path)
    assert second.state["anchor"].tolist() == first.weights.tolist()


def test_collinear_inputs_need_no_ridge(tmp_path):
    table = Table(inputs=3)
    table.parts = [(np.concatenate([x, x[:, 1:2], np.zeros((len(x), 1))], axis=1), y) for x, y in table.parts]
    path = rounds_of(tmp_path, table, 8, ridge=0.0)
    plain = Table(inputs=3)
    assert loss(path[-1].astype(float), *table.together) == pytest.approx(loss(optimum(plain, 0.0), *plain.together), abs=1e-6)
    assert path[-1][5] == 0.0


def test_separable_rows_stay_finite(tmp_path):
    table = Table(rows=(40, 40), inputs=2)
    table.parts = [(x, (x[:, 1] > 0).astype(float)) for x, _ in table.parts]
    path = rounds_of(tmp_path, table, 15)
    assert np.isfinite(path[-1]).all()
    losses = [loss(weights.astype(float), *table.together) for weights in path]
    assert losses[-1] < 0.05


# ------------------------------------------------------------------------ the solver
@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_cholesky_solves_what_lapack_solves(size):
    rng = np.random.default_rng(size)
    root = rng.standard_normal((size, size + 3))
    matrix, right = root @ root.T, rng.standard_normal(size)
    assert solve(matrix, right) == pytest.approx(np.linalg.solve(matrix, right), rel=1e-8, abs=1e-10)


def test_a_direction_about_which_nothing_is_known_is_left_alone():
    matrix = np.array([[2.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 0.0, 2.0]])
    assert solve(matrix, np.array([4.0, 1.0, 4.0])).tolist() == [pytest.approx(2.0), 0.0, 0.0]


def test_the_widest_model_is_solved_in_seconds():
    size = LARGEST_NEWTON // 4
    matrix = np.full((size, size), 0.5) + np.diag(np.arange(1.0, size + 1))
    assert matrix @ solve(matrix, np.ones(size)) == pytest.approx(np.ones(size))
