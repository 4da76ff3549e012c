"""Aggregation by blocks: the same bits wherever a block ends, flat memory, whole files, finite numbers."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.plan import STRATEGIES as NAMES
from clientagent.wire.strategies import SERVER_VECTORS
from rounds.algorithms import blocks, passes
from rounds.algorithms.files import Overflowed
from rounds.algorithms.gram import WIDEST, distances, gram
from rounds.algorithms.registry import STRATEGIES, strategy_named
from tests.rounds.rows import next_of

COLUMN_STRATEGIES = sorted(name for name in NAMES if name != "newton")


def some_updates(banks: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((banks, width)).astype(np.float32)


def control_of(name: str, updates: np.ndarray) -> dict:
    return {"control": updates * 2} if name == "scaffold" else {}


# ------------------------------------------------------------------------ the menu
def test_every_strategy_of_a_plan_is_on_the_menu_with_its_sentence_and_its_paper():
    assert set(STRATEGIES) == set(NAMES)
    for strategy in STRATEGIES.values():
        assert strategy.choose_when.endswith(".")
        assert strategy.paper[-1].isdigit()
        assert (strategy.begin is None) != (strategy.solve is None)
        assert strategy_named(strategy.name) is strategy


# ------------------------------------------------------------------------ the same bits
@pytest.mark.parametrize("name", COLUMN_STRATEGIES)
def test_where_a_block_ends_changes_no_bit(tmp_path, name, monkeypatch):
    """The sizes are tuning, not meaning: read and computed in small stretches, the result is the same."""
    updates = some_updates(7, 20_000)
    base = some_updates(1, 20_000, 1)[0]
    whole = next_of(tmp_path, name, updates, base=base, extra=control_of(name, updates))
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 8 * 3000)
    monkeypatch.setattr(blocks, "WIDEST_PIECE", 1024)
    monkeypatch.setattr(passes, "BLOCK_BYTES", 4 * 8 * 5000)
    parts = next_of(tmp_path, name, updates, base=base, extra=control_of(name, updates))
    assert parts.weights.tobytes() == whole.weights.tobytes()
    assert {key: x.tobytes() for key, x in parts.state.items()} == {key: x.tobytes() for key, x in whole.state.items()}


@pytest.mark.parametrize("name", COLUMN_STRATEGIES)
def test_the_same_round_twice_gives_the_same_bits(tmp_path, name):
    updates = some_updates(7, 5000)
    once, twice = (next_of(tmp_path, name, updates, extra=control_of(name, updates)) for _ in range(2))
    assert once.weights.tobytes() == twice.weights.tobytes()


def test_fedavg_is_a_sum_in_float64_in_the_manifests_order(tmp_path):
    updates, weights = some_updates(5, 9000), np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    total = np.zeros(9000)
    for weight, row in zip(weights, updates, strict=True):
        total += weight * row.astype(np.float64)
    assert next_of(tmp_path, "fedavg", updates, known={"weights": weights}).weights.tobytes() == total.astype("<f4").tobytes()


@pytest.mark.parametrize("name", sorted(set(SERVER_VECTORS) - {"newton"}))
def test_the_servers_vectors_of_a_version_decide_the_next_one(tmp_path, name):
    updates = some_updates(7, 3000)
    first = next_of(tmp_path, name, updates, extra=control_of(name, updates))
    assert any(x.any() for x in first.state.values())
    again = [
        next_of(tmp_path, name, updates[::-1], base=first.weights, state=first.state_path, extra=control_of(name, updates))
        for _ in range(2)
    ]
    fresh = next_of(tmp_path, name, updates[::-1], base=first.weights, extra=control_of(name, updates))
    assert again[0].weights.tobytes() == again[1].weights.tobytes()
    assert {key: x.tobytes() for key, x in again[0].state.items()} != {key: x.tobytes() for key, x in fresh.state.items()}


# ------------------------------------------------------------------------ inner products
@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1 - 2**20, 2**20 - 1), min_size=6, max_size=6), min_size=2, max_size=4))
def test_inner_products_of_whole_numbers_are_exact(rows):
    block = np.array(rows, np.float32)
    found = gram([block], len(rows))
    expected = [[sum(Fraction(a) * Fraction(b) for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    assert [[Fraction(float(value)) for value in row] for row in found] == expected


def test_inner_products_do_not_depend_on_the_order_of_the_sum():
    block = some_updates(6, WIDEST)
    order = np.random.default_rng(3).permutation(WIDEST)
    assert gram([block], 6).tobytes() == gram([np.ascontiguousarray(block[:, order])], 6).tobytes()


def test_inner_products_are_those_of_float64_to_six_digits():
    block = some_updates(6, WIDEST)
    wide = block.astype(np.float64)
    assert gram([block], 6) == pytest.approx(wide @ wide.T, rel=1e-6, abs=1e-2)


def test_a_huge_update_coarsens_nobody_elses_distances():
    block = some_updates(6, WIDEST)
    hostile = block.copy()
    hostile[0] = 3e38
    assert gram([hostile], 6)[1:, 1:].tobytes() == gram([block], 6)[1:, 1:].tobytes()


def test_distances_are_never_negative():
    block = np.repeat(some_updates(1, WIDEST) * 1e3, 4, axis=0)
    assert distances(gram([block], 4)).min() == 0


def test_a_piece_too_wide_to_be_exact_is_refused():
    with pytest.raises(ValueError, match="would not be exact"):
        gram([np.zeros((2, WIDEST + 1), np.float32)], 2)


# ------------------------------------------------------------------------ geometry
@pytest.mark.parametrize("name", ["fedavg", "median", "krum", "geometric_median"])
def test_geometry_tells_lengths_and_directions(tmp_path, name):
    updates = some_updates(7, 12_000) + 0.5
    found = next_of(tmp_path, name, updates)
    norms = np.linalg.norm(updates.astype(np.float64), axis=1)
    cosines = updates @ found.difference / norms / np.linalg.norm(found.difference)
    assert found.geometry.norms == pytest.approx(norms, rel=1e-5)
    assert found.geometry.cosines == pytest.approx(cosines, rel=1e-5)


@pytest.mark.parametrize("size", [1e-36, 1e-25, 1.0, 1e15, 1e30])
def test_geometry_tells_of_numbers_whose_squares_no_float32_holds(tmp_path, size):
    updates = np.array(some_updates(3, 5000), np.float64) * np.array([[1.0], [size], [1.0]])
    found, sent = next_of(tmp_path, "fedavg", updates.astype(np.float32)), updates.astype(np.float32).astype(np.float64)
    assert found.geometry.norms == pytest.approx(np.linalg.norm(sent, axis=1), rel=1e-5)
    expected = sent @ found.difference / (np.linalg.norm(sent, axis=1) * np.linalg.norm(found.difference))
    assert found.geometry.cosines == pytest.approx(expected, abs=1e-5)


def test_an_update_of_zeros_has_no_direction(tmp_path):
    assert next_of(tmp_path, "fedavg", [[0.0, 0.0], [1.0, 0.0]]).geometry.cosines.tolist() == [0.0, pytest.approx(1.0)]


# ------------------------------------------------------------------------ bad files, big files
def test_a_short_file_is_an_error_and_not_a_zero(tmp_path):
    updates = some_updates(3, 5000)

    def cut_short(data: bytes) -> None:
        (tmp_path / "update-1").write_bytes(b"\0" * 100)

    next_of(tmp_path, "fedavg", updates)
    cut_short(b"")
    with pytest.raises(OSError, match="short read"):
        passes.UpdatePasses([_file(tmp_path / "update-0"), _file(tmp_path / "update-1")], 5000).gram()


def _file(path: Path):
    from rounds.algorithms.files import FlatFile

    return FlatFile(path, 0)


def test_a_result_that_float32_cannot_hold_is_no_version(tmp_path):
    with pytest.raises(Overflowed):
        next_of(tmp_path, "fedavgm", [[3e38], [3e38]], server_learning_rate=10.0)


@pytest.mark.parametrize("name", ["fedavg", "median", "krum", "geometric_median", "fedadam"])
def test_memory_does_not_grow_with_the_number_of_banks(tmp_path, name):
    peaks = []
    for banks in (10, 200):
        updates = np.lib.stride_tricks.as_strided(some_updates(1, 60_000), (banks, 60_000), (0, 4))
        folder = tmp_path / str(banks)
        folder.mkdir()
        next_of(folder, name, updates[:2, :10])  # imports and caches
        peaks.append(_peak_of(lambda folder=folder, updates=updates: next_of(folder, name, updates)))
    assert peaks[1] < peaks[0] + 20 * 2**20  # all updates of 200 banks are 46 MiB


def _peak_of(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
