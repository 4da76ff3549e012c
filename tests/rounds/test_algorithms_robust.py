"""What a hostile bank can do to each robust rule, and what the rules say of numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.plan import Strategy as StrategyPart
from clientagent.wire.strategies import ROBUST, fewest_banks
from rounds.algorithms.centred_clipping import clipped
from rounds.algorithms.geometric_median import weiszfeld
from rounds.algorithms.gram import distances, gram, to_whole
from rounds.algorithms.krum import scores
from rounds.algorithms.mixing import nearest
from rounds.algorithms.networks import MOST_ROWS, order_statistics, without_extremes
from tests.rounds.rows import next_of

WIDTH = 9_000


def banks_around(centre: float, banks: int, *, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return (centre + 0.1 * np.random.default_rng(seed).standard_normal((banks, width))).astype(np.float32)


def squared(points: list[list[float]]) -> np.ndarray:
    rows = np.array(points)
    return distances(rows @ rows.T)


# ------------------------------------------------------------------------ inner products
@given(
    st.integers(0, 2**32), st.lists(st.integers(-145, 120), min_size=2, max_size=6), st.integers(1, 300),
)
def test_inner_products_are_those_of_whole_numbers_whatever_the_size(seed, exponents, width):
    """Each bank's numbers of a size of its own, from the smallest that float32 has to nearly the largest."""
    rng = np.random.default_rng(seed)
    piece = np.ldexp(rng.uniform(-1, 1, (len(exponents), width)), np.array(exponents)[:, None]).astype(np.float32)
    whole, units = to_whole(piece)
    assert np.array_equal(whole, np.rint(piece.astype(np.float64) / units[:, None]))
    exact = [[int(a.astype(object) @ b.astype(object)) for b in whole] for a in whole]
    assert np.array_equal(gram([piece], len(exponents)), np.array(exact, float) * (units[:, None] * units))


# ------------------------------------------------------------------------ by hand
@pytest.mark.parametrize("banks", [1, 2, 3, 6, 7, 20, MOST_ROWS, MOST_ROWS + 1])
def test_median_is_the_middle_of_every_column(tmp_path, banks):
    updates = banks_around(0, banks)
    found = next_of(tmp_path, "median", updates, byzantine=0)
    assert np.array_equal(found.weights, np.median(updates.astype(np.float64), axis=0).astype(np.float32))


@pytest.mark.parametrize(("banks", "cut"), [(3, 1), (7, 2), (20, 1), (20, 6), (70, 10)])
def test_trimmed_mean_is_the_mean_of_what_is_left(tmp_path, banks, cut):
    updates = banks_around(0, banks)
    found = next_of(tmp_path, "trimmed_mean", updates, byzantine=cut)
    left = np.sort(updates.astype(np.float64), axis=0)[cut : banks - cut]
    assert found.difference == pytest.approx(left.mean(axis=0), abs=1e-6)


def test_trimmed_mean_cuts_the_share_that_the_plan_names(tmp_path):
    assert next_of(tmp_path, "trimmed_mean", [[0.0], [1.0], [2.0], [3.0], [90.0]], trim=0.2).difference.tolist() == [2.0]
    assert next_of(tmp_path, "trimmed_mean", [[0.0], [1.0], [3.0], [4.0], [90.0]], trim=0.4).difference.tolist() == [3.0]


def test_krum_sums_the_distances_to_the_nearest_others():
    # on a line at 0, 1, 2, 4, 9 with f = 1: two nearest others each
    found = scores(squared([[0.0], [1.0], [2.0], [4.0], [9.0]]), 1)
    assert found.tolist() == [1 + 4, 1 + 1, 1 + 4, 4 + 9, 25 + 49]


def test_krum_takes_one_update_and_multikrum_the_mean_of_all_but_f(tmp_path):
    updates = [[0.0], [1.0], [2.0], [4.0], [9.0]]
    assert next_of(tmp_path, "krum", updates).difference.tolist() == [1.0]
    assert next_of(tmp_path, "multikrum", updates).difference.tolist() == [(0 + 1 + 2 + 4) / 4]


def test_krum_breaks_ties_by_the_manifests_order(tmp_path):
    assert next_of(tmp_path, "krum", [[2.0], [1.0], [1.0], [2.0], [2.0], [1.0]]).difference.tolist() == [2.0]


def test_geometric_median_of_a_triangle_is_its_fermat_point():
    coefficients = weiszfeld(squared([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    place = (3 - math.sqrt(3)) / 6  # x = y on the diagonal: minimises sqrt(2) x + 2 sqrt((1 - x)^2 + x^2)
    assert (coefficients @ np.array([[0, 0], [1, 0], [0, 1]])).tolist() == pytest.approx([place, place], abs=1e-9)


def test_geometric_median_on_a_line_is_the_median():
    coefficients = weiszfeld(squared([[0.0], [1.0], [2.0], [7.0], [1000.0]]))
    assert float(coefficients @ np.array([0, 1, 2, 7, 1000])) == pytest.approx(2.0, abs=1e-4)


def test_geometric_median_of_equal_updates_is_that_update():
    assert weiszfeld(np.zeros((4, 4))).tolist() == [0.25] * 4


def test_centred_clipping_takes_one_clipped_step_after_the_other():
    # the centre at 0, updates at 3 and 5, radius 1: both pull by 1 until they are within reach
    coefficients = clipped(squared([[3.0], [5.0], [0.0]]), 1.0)
    # v goes 1, 2, 3, then 3 + (0 + 1) / 2, then 3.5 + (-0.5 + 1) / 2
    assert float(coefficients @ np.array([3.0, 5.0, 0.0])) == pytest.approx(3.75)
    assert coefficients.sum() == pytest.approx(1.0)


def test_centred_clipping_starts_from_the_last_rounds_result(tmp_path):
    first = next_of(tmp_path, "centred_clipping", [[3.0], [5.0], [4.0]], bound=100.0)
    assert first.difference.tolist() == pytest.approx([4.0])
    second = next_of(tmp_path, "centred_clipping", [[4.0], [4.0], [1e6]], state=first.state_path, bound=0.3)
    assert second.difference.tolist() == pytest.approx([4.1], abs=0.2)


def test_norm_bound_shortens_what_is_longer(tmp_path):
    known = {"weights": [0.5, 0.25, 0.25]}
    found = next_of(tmp_path, "norm_bound", [[3.0, 4.0], [0.0, 1.0], [60.0, 80.0]], bound=5.0, known=known)
    assert found.difference.tolist() == pytest.approx([0.5 * 3 + 0.25 * 3, 0.5 * 4 + 0.25 * 1 + 0.25 * 4], rel=1e-5)


def test_norm_bound_left_open_is_the_median_length(tmp_path):
    found = next_of(tmp_path, "norm_bound", [[1.0], [2.0], [300.0]], known={"weights": [1 / 3] * 3})
    assert found.difference.tolist() == pytest.approx([(1 + 2 + 2) / 3], rel=1e-5)


def test_mixing_averages_the_nearest_and_itself():
    mixture = nearest(squared([[0.0], [1.0], [3.0], [100.0]]), 1)
    assert mixture.tolist() == pytest.approx(np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 1, 1]]) / 3)


def test_mixed_rules_work_on_the_mixed_updates(tmp_path):
    updates = [[0.0], [1.0], [3.0], [100.0]]
    assert next_of(tmp_path, "median", updates, mixing="nearest").difference.tolist() == pytest.approx([4 / 3], rel=1e-6)
    found = next_of(tmp_path, "geometric_median", updates, mixing="nearest")
    assert found.difference.tolist() == pytest.approx([4 / 3], rel=1e-4)


# ------------------------------------------------------------------------ hostile banks
@pytest.mark.parametrize("mixing", ["none", "nearest"])
@pytest.mark.parametrize("name", sorted(ROBUST))
@pytest.mark.parametrize("attack", ["ten times back", "huge", "just beyond", "opposite"])
def test_two_hostile_banks_of_nine_move_a_robust_rule_little(tmp_path, name, mixing, attack):
    honest = banks_around(1.0, 7)
    hostile = {
        "ten times back": -10 * honest[:2], "huge": np.full((2, WIDTH), 3e38), "just beyond": np.full((2, WIDTH), 1.3),
        "opposite": -honest[:2],
    }[attack]
    found = next_of(tmp_path, name, np.concatenate([hostile, honest]), byzantine=2, mixing=mixing)
    assert np.abs(found.difference.mean() - 1.0) < 0.11
    assert np.abs(found.difference - 1.0).max() < 0.7


def test_fedavg_is_what_robust_rules_are_for(tmp_path):
    honest = banks_around(1.0, 7)
    found = next_of(tmp_path, "fedavg", np.concatenate([-10 * honest[:2], honest]))
    assert found.difference.mean() < -1


@pytest.mark.parametrize("name", sorted(ROBUST))
def test_without_a_hostile_bank_a_robust_rule_stays_with_the_honest_ones(tmp_path, name):
    found = next_of(tmp_path, name, banks_around(1.0, 9), byzantine=2)
    assert abs(found.difference.mean() - 1.0) < 0.01


@pytest.mark.parametrize("name", sorted(ROBUST))
def test_a_bank_gains_no_voice_by_claiming_rows(tmp_path, name):
    updates = banks_around(1.0, 9)
    claimed = {"weights": [0.92] + [0.01] * 8, "rows": [1e9] + [100] * 8}
    assert np.array_equal(next_of(tmp_path, name, updates, known=claimed).weights, next_of(tmp_path, name, updates).weights)


@pytest.mark.parametrize("name", sorted(ROBUST - {"centred_clipping"}))
def test_the_order_of_banks_does_not_matter(tmp_path, name):
    updates = banks_around(1.0, 9)
    turned = next_of(tmp_path, name, updates[::-1], byzantine=2)
    assert turned.difference == pytest.approx(next_of(tmp_path, name, updates, byzantine=2).difference, abs=1e-6)


def test_krum_is_not_fooled_by_small_differences_on_large_weights(tmp_path):
    """In float32 the distances of such updates are rounding noise, and Flower's Krum picks the attacker."""
    rng = np.random.default_rng(1)
    common = rng.standard_normal(WIDTH)
    honest = common + 1e-4 * rng.standard_normal((8, WIDTH))
    attacker = common + 1.1e-4 * rng.standard_normal((1, WIDTH)) + 1e-4
    found = next_of(tmp_path, "krum", np.concatenate([attacker, honest]), byzantine=1)
    assert np.abs(found.difference - common).mean() < 1e-4


# ------------------------------------------------------------------------ how many banks
@pytest.mark.parametrize(
    ("name", "byzantine", "needed"),
    [("krum", 1, 5), ("multikrum", 2, 7), ("median", 1, 3), ("trimmed_mean", 2, 5), ("geometric_median", 3, 7),
     ("centred_clipping", 1, 3), ("norm_bound", 5, 1), ("fedavg", 5, 1)],
)
def test_each_rule_says_how_many_banks_it_needs(name, byzantine, needed):
    assert fewest_banks(StrategyPart(name=name, byzantine=byzantine)) == needed


# ------------------------------------------------------------------------ networks
@pytest.mark.parametrize("rows", range(1, 40))
def test_a_network_finds_every_place(rows):
    block = np.random.default_rng(rows).integers(-3, 4, (rows, 300)).astype(np.float32)
    expected = np.sort(block, axis=0)
    assert np.array_equal(np.stack(order_statistics(block, range(rows))), expected)
    for place in range(rows):
        assert np.array_equal(order_statistics(block, range(place, place + 1))[0], expected[place])
    for cut in range((rows + 1) // 2):
        left = np.sort(np.stack(without_extremes(block, cut)), axis=0)
        assert np.array_equal(left, expected[cut : rows - cut])


def test_a_network_leaves_the_updates_as_they_are():
    block = banks_around(0, 5, width=50)
    before = block.copy()
    order_statistics(block, range(2, 3))
    assert np.array_equal(block, before)


def test_zeros_of_both_signs_count_as_one_number():
    orders = ([[-0.0], [0.0], [0.0]], [[0.0], [0.0], [-0.0]])
    found = {order_statistics(np.array(rows, np.float32), range(1, 2))[0].tobytes() for rows in orders}
    assert len(found) == 1
