"""Each strategy against numbers worked out by hand from its paper's equations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.rounds.rows import next_of

TWO_BANKS = [[1.0, -2.0], [3.0, 4.0]]


def close(values: object) -> object:
    return pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "ditto"])
def test_the_mean_counts_each_bank_by_its_weight(tmp_path, name):
    found = next_of(tmp_path, name, TWO_BANKS, base=[10.0, 20.0], known={"weights": [0.25, 0.75]})
    assert found.weights.tolist() == close([10 + 0.25 * 1 + 0.75 * 3, 20 - 0.25 * 2 + 0.75 * 4])


def test_fedavgm_adds_what_is_left_of_the_last_steps(tmp_path):
    first = next_of(tmp_path, "fedavgm", TWO_BANKS, momentum=0.9, server_learning_rate=0.5)
    assert first.difference.tolist() == close([0.5 * 2, 0.5 * 1])
    second = next_of(tmp_path, "fedavgm", [[1.0, 1.0]], state=first.state_path, momentum=0.9, server_learning_rate=0.5)
    assert second.state["momentum"].tolist() == close([0.9 * 2 + 1, 0.9 * 1 + 1])
    assert second.difference.tolist() == close([0.5 * 2.8, 0.5 * 1.9])


def test_fedadagrad_divides_by_all_squares_so_far(tmp_path):
    first = next_of(tmp_path, "fedadagrad", [[3.0, -4.0]], server_learning_rate=0.1)
    assert first.difference.tolist() == close([0.1 * 3 / (3 + 1e-3), -0.1 * 4 / (4 + 1e-3)])
    second = next_of(tmp_path, "fedadagrad", [[4.0, 3.0]], state=first.state_path, server_learning_rate=0.1)
    assert second.difference.tolist() == close([0.1 * 4 / (5 + 1e-3), 0.1 * 3 / (5 + 1e-3)])


def test_fedadam_corrects_both_moments(tmp_path):
    first = next_of(tmp_path, "fedadam", [[2.0]], server_learning_rate=0.1, momentum=0.9)
    rate = 0.1 * math.sqrt(1 - 0.99**2) / (1 - 0.9**2)
    assert first.difference.tolist() == close([rate * 0.2 / (math.sqrt(0.04) + 1e-3)])
    numbers = {"server_learning_rate": 0.1, "momentum": 0.9}
    second = next_of(tmp_path, "fedadam", [[-1.0]], state=first.state_path, known={"round": 2}, **numbers)
    m, v = 0.9 * 0.2 - 0.1 * 1, 0.99 * 0.04 + 0.01 * 1
    rate = 0.1 * math.sqrt(1 - 0.99**3) / (1 - 0.9**3)
    assert second.difference.tolist() == close([rate * m / (math.sqrt(v) + 1e-3)])


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_a_version_of_a_part_of_the_banks_takes_that_part_of_the_servers_step(tmp_path, name):
    whole, part = (next_of(tmp_path, name, [[2.0, -0.5]], known={"part": share}) for share in (1.0, 0.25))
    assert part.difference == pytest.approx(whole.difference / 4, rel=1e-6)
    assert all((part.state[key] == whole.state[key]).all() for key in whole.state)


def test_fedyogi_moves_the_second_moment_by_a_bounded_step(tmp_path):
    first = next_of(tmp_path, "fedyogi", [[2.0]], server_learning_rate=0.1, momentum=0.9)
    assert first.state["second_moment"].tolist() == close([0.04])  # 0 - 0.01 * 4 * sign(0 - 4)
    assert first.difference.tolist() == close([0.1 * 0.2 / (0.2 + 1e-3)])
    second = next_of(tmp_path, "fedyogi", [[0.1]], state=first.state_path, server_learning_rate=0.1, momentum=0.9)
    assert second.state["second_moment"].tolist() == close([0.04 - 0.01 * 0.01])


def test_scaffold_adds_the_banks_shares_of_the_control_and_keeps_those_of_absent_banks(tmp_path):
    known = {"weights": [0.5, 0.5], "shares": [0.25, 0.25], "participants": 4}
    first = next_of(
        tmp_path, "scaffold", TWO_BANKS, extra={"control": [[4.0, 0.0], [0.0, 8.0]]}, known=known, server_learning_rate=0.5
    )
    assert first.difference.tolist() == close([0.5 * 2, 0.5 * 1])
    assert first.state["control"].tolist() == close([1.0, 2.0])
    second = next_of(
        tmp_path, "scaffold", TWO_BANKS, extra={"control": [[4.0, 0.0], [0.0, 8.0]]}, known=known, state=first.state_path
    )
    assert second.state["control"].tolist() == close([2.0, 4.0])


def test_fednova_takes_the_mean_step_times_the_mean_number_of_steps(tmp_path):
    known = {"weights": [0.25, 0.75], "steps": [2, 10]}
    found = next_of(tmp_path, "fednova", [[2.0, 0.0], [0.0, 10.0]], known=known)
    effective = 0.25 * 2 + 0.75 * 10
    assert found.difference.tolist() == close([effective * 0.25 * 1, effective * 0.75 * 1])


def test_fednova_with_equal_steps_is_fedavg(tmp_path):
    known = {"weights": [0.3, 0.7], "steps": [7, 7]}
    assert next_of(tmp_path, "fednova", TWO_BANKS, known=known).difference.tolist() == close(
        next_of(tmp_path, "fedavg", TWO_BANKS, known=known).difference.tolist()
    )


def test_fednova_leaves_out_a_bank_that_took_no_step(tmp_path):
    found = next_of(tmp_path, "fednova", [[0.0, 0.0], [3.0, 4.0]], known={"steps": [0, 5]})
    assert found.difference.tolist() == close([0.5 * 5 * 0.5 * 3 / 5, 0.5 * 5 * 0.5 * 4 / 5])


def test_feddyn_adds_the_drift_of_all_rounds_to_the_plain_mean(tmp_path):
    known = {"weights": [0.9, 0.1], "participants": 4}
    first = next_of(tmp_path, "feddyn", TWO_BANKS, known=known)
    assert first.state["drift"].tolist() == close([(1 + 3) / 4, (-2 + 4) / 4])
    assert first.difference.tolist() == close([2 + 1.0, 1 + 0.5])
    second = next_of(tmp_path, "feddyn", TWO_BANKS, known=known, state=first.state_path)
    assert second.difference.tolist() == close([2 + 2.0, 1 + 1.0])


def test_qfedavg_follows_its_equation(tmp_path):
    q, rate, losses = 2.0, 0.5, [0.5, 1.0]
    found = next_of(
        tmp_path, "qfedavg", [[0.1, 0.0], [0.0, 0.2]], known={"losses": losses}, q=q, server_learning_rate=rate
    )
    gradients = np.array([[-0.2, 0.0], [0.0, -0.4]])  # L (w - w_k) with L = 2
    delta = sum(f**q * g for f, g in zip(losses, gradients, strict=True))
    h = sum(q * f ** (q - 1) * (g @ g) + f**q / rate for f, g in zip(losses, gradients, strict=True))
    assert found.difference.tolist() == pytest.approx((-delta / h).tolist(), rel=1e-5)


def test_qfedavg_left_open_reads_an_update_as_all_its_steps(tmp_path):
    known = {"losses": [0.3, 0.6], "learning_rate": 0.05, "steps": [4, 16]}
    open_ = next_of(tmp_path, "qfedavg", TWO_BANKS, known=known, q=1)
    said = next_of(tmp_path, "qfedavg", TWO_BANKS, known=known, q=1, server_learning_rate=0.5)
    assert open_.weights.tobytes() == said.weights.tobytes()


def test_qfedavg_with_q_of_zero_is_fedavg(tmp_path):
    known = {"weights": [0.3, 0.7], "losses": [0.1, 3.0]}
    assert next_of(tmp_path, "qfedavg", TWO_BANKS, known=known, q=0).difference.tolist() == close(
        next_of(tmp_path, "fedavg", TWO_BANKS, known=known).difference.tolist()
    )


def test_qfedavg_gives_a_bank_without_a_loss_the_mean_of_the_others(tmp_path):
    with_gap = next_of(tmp_path, "qfedavg", TWO_BANKS + [[0.0, 1.0]], known={"losses": [0.2, 0.6, math.nan]}, q=1)
    filled = next_of(tmp_path, "qfedavg", TWO_BANKS + [[0.0, 1.0]], known={"losses": [0.2, 0.6, 0.4]}, q=1)
    assert with_gap.difference.tolist() == filled.difference.tolist()


def test_qfedavg_takes_the_steepest_power_without_leaving_the_numbers(tmp_path):
    found = next_of(tmp_path, "qfedavg", TWO_BANKS, known={"losses": [1e-9, 30.0]}, q=100)
    assert np.isfinite(found.difference).all()
    assert (found.difference * np.array(TWO_BANKS[1]) > 0).all()
