"""The layout of an update under a plan: no sum overflows at the very bounds, and rotated coordinates keep what they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.errors import CohortMismatch
from clientagent.wire.masking import Ring, Rotation, bound_offered, dequantise, quantise, rotated_bound, update_segments
from clientagent.wire.masking.ring import largest
from clientagent.wire.secure_messages import Segment
from tests.wire.given import a_plan

PLAIN = a_plan(privacy__secure_aggregation={})
INT8 = a_plan(privacy__secure_aggregation={}, compression__codec="int8")


@given(parties=st.integers(3, 64), exponent=st.integers(-30, 4), plan=st.sampled_from([PLAIN, INT8]), data=st.data())
def test_the_largest_updates_of_all_banks_add_up_without_overflow(parties, exponent, plan, data):
    segment = update_segments(plan, 5 if plan is PLAIN else 3000, parties, bound=2.0**exponent)[0]
    ring, most = Ring(parties, [segment]), largest(segment)
    signs = data.draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=segment.values, max_size=segment.values)
                      if segment.values < 50 else st.just([1, -1] * (segment.values // 2)))
    one = np.array(signs, np.int64) * most
    words = ring.encode({segment.name: one})
    total = np.zeros_like(words)
    for _bank in range(parties):
        total += words
    assert np.array_equal(ring.decode(total, parties)[segment.name], parties * one)


@given(parties=st.integers(3, 64))
def test_under_int8_a_value_has_8_bits_or_more_in_half_a_word(parties):
    segment = update_segments(INT8, 5000, parties, bound=0.25)[0]
    assert Ring(parties, [segment]).words == Rotation.padded(5000) // 2
    assert 2 * largest(segment) >= 2**8


@given(parties=st.integers(3, 20), scale=st.floats(1e-6, 1.0), seed=st.integers(0, 99))
def test_a_bound_from_the_last_mean_has_room_for_banks_that_agree_on_nothing(parties, scale, seed):
    rng = np.random.default_rng(seed)
    updates = rng.normal(size=(parties, 5000)) * scale
    bound = rotated_bound(float(np.linalg.norm(updates.mean(axis=0))), 5000, parties)
    segment = update_segments(INT8, 5000, parties, bound=bound)[0]
    rotated = Rotation("a" * 64).forward(updates[0])
    found = quantise(rotated, segment, uniform=rng.random)
    assert found.clipped <= 5
    back = Rotation("a" * 64).back(dequantise(found.integers, segment))[:5000]
    assert np.linalg.norm(back - updates[0]) < 0.05 * np.linalg.norm(updates[0])


def test_a_small_model_is_not_made_larger():
    assert update_segments(INT8, 40, 5, bound=0.25)[0].values == 40


@pytest.mark.parametrize("norm", [0.0, float("inf"), 1e9])
def test_a_mean_that_says_nothing_gives_no_bound(norm):
    assert rotated_bound(norm, 5000, 5) is None


def test_a_bound_that_is_no_power_of_two_is_refused():
    good = update_segments(INT8, 5000, 5, bound=0.25)
    assert bound_offered(good) == 0.25
    for bound in (0.3, 2.0**20):
        bad = Segment.model_validate({**good[0].model_dump(), "bound": bound, "scale": 1.0})
        with pytest.raises(CohortMismatch):
            bound_offered([bad])
