"""Numbers become ring words and come back: nothing overflows, nothing rounds twice, and what does not fit is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.errors import Malformed, NotFinite, RingExceeded
from clientagent.wire.masking import Ring, counts, dequantise, quantise, reals
from clientagent.wire.masking.ring import BLOCK, largest
from clientagent.wire.secure_messages import MAX_COHORT, Segment


@st.composite
def segments(draw: st.DrawFn, name: str, parties: int) -> Segment:
    """Any segment that the portal could size: one word, several values a word, limbs, counts, with and without noise."""
    values = draw(st.integers(1, 40))
    kind = draw(st.sampled_from(["word", "packed", "wide", "counts", "noise"]))
    bound = draw(st.floats(1e-6, 1e9))
    match kind:
        case "word":
            return reals(name, values, bound=bound, parties=parties)
        case "packed":
            return reals(name, values, bound=bound, parties=parties, per_word=draw(st.integers(2, 3)))
        case "wide":
            return reals(name, values, bound=bound, parties=parties, bits=draw(st.integers(9, 52)))
        case "counts":
            return counts(name, values, most=draw(st.integers(0, 10**12)))
    return reals(name, values, bound=bound, parties=parties, noise_std=bound * draw(st.floats(0.01, 100)))


@st.composite
def rings(draw: st.DrawFn) -> Ring:
    parties = draw(st.integers(3, MAX_COHORT))
    return Ring(parties, [draw(segments(f"s{i}", parties)) for i in range(draw(st.integers(1, 4)))])


def _extremes(ring: Ring, draw: st.DataObject) -> dict[str, np.ndarray]:
    """Integers at the very bounds, at zero, and in between."""
    parts = {}
    for place in ring.places:
        low = -place.offset
        one = st.sampled_from([low, place.maximum, 0]) | st.integers(low, place.maximum)
        parts[place.segment.name] = np.array(
            draw.draw(st.lists(one, min_size=place.segment.values, max_size=place.segment.values)), np.int64
        )
    return parts


@given(rings(), st.data())
@settings(max_examples=80, deadline=None)
def test_the_sum_in_the_ring_is_the_sum_of_the_integers(ring: Ring, data: st.DataObject) -> None:
    several = [_extremes(ring, data) for _ in range(2)]
    contributors = data.draw(st.integers(1, ring.parties))
    banks = [several[i % 2] for i in range(contributors)]
    total = np.zeros(ring.words, np.uint32)
    for parts in banks:
        total += ring.encode(parts)
    opened = ring.decode(total, contributors)
    for name, integers in opened.items():
        assert integers.tolist() == [sum(int(bank[name][i]) for bank in banks) for i in range(len(integers))]


@given(rings(), st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_field_of_any_word_overflows_even_when_all_banks_send_the_largest_value(ring: Ring, top: bool) -> None:
    for place in ring.places:
        extreme = place.maximum if top else -place.offset
        words = [int(word) for word in place.words_of(np.full(place.segment.values, extreme, np.int64))]
        assert all(ring.parties * word < 2**32 for word in words)
        if place.limbs == 1:
            fields = [word >> (place.bits * k) & (2**place.bits - 1) for word in words for k in range(place.per_word)]
            assert all(ring.parties * value < 2**place.bits for value in fields)


@given(rings())
@settings(max_examples=40, deadline=None)
def test_pieces_cover_every_word_and_value_once_in_order(ring: Ring) -> None:
    next_word, values = 0, dict.fromkeys((place.segment.name for place in ring.places), 0)
    for piece in ring.pieces():
        assert piece.start == next_word
        assert piece.first == values[piece.place.segment.name]
        next_word += piece.words
        values[piece.place.segment.name] += piece.values
    assert next_word == ring.words
    assert values == {place.segment.name: place.segment.values for place in ring.places}


@pytest.mark.parametrize("segment", [
    reals("u", 2 * BLOCK + 7, bound=1, parties=5), reals("u", 3 * BLOCK + 1, bound=1, parties=5, per_word=2),
    reals("u", BLOCK + 3, bound=1e6, parties=5, bits=50), counts("u", BLOCK + 5, most=1000),
])
def test_a_vector_of_several_blocks_comes_back_whole(segment: Segment) -> None:
    ring = Ring(5, [segment])
    place = ring.places[0]
    integers = np.random.default_rng(0).integers(-place.offset, place.maximum, segment.values, endpoint=True)
    assert np.array_equal(ring.decode(ring.encode({"u": integers}), 1)["u"], integers)


@given(st.floats(1e-9, 1e12), st.integers(3, MAX_COHORT), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_the_scale_is_the_finest_power_of_two_that_fits(bound: float, parties: int, per_word: int) -> None:
    segment = reals("u", 6, bound=bound, parties=parties, per_word=per_word)
    finer = segment.model_copy(update={"scale": segment.scale * 2})
    assert math.log2(segment.scale).is_integer()
    assert Ring(parties, [segment]).words == math.ceil(6 / per_word)
    assert 2 * largest(finer) * parties >= 2 ** (32 // per_word)


def test_ten_banks_resolve_a_weight_as_finely_as_float32_does_at_one() -> None:
    assert reals("update", 1, bound=16.0, parties=10).scale == 2.0**23


def test_values_of_eight_bits_travel_at_a_quarter_of_the_bytes_for_three_banks_and_at_half_for_ten() -> None:
    assert Ring(3, [reals("u", 999, bound=1, parties=3, bits=8)]).words == 333
    assert Ring(10, [reals("u", 1000, bound=1, parties=10, bits=8)]).words == 500


# ------------------------------------------------------------------ quantising
finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=50), st.floats(0, 1))
def test_nearest_rounding_errs_by_at_most_half_a_step(values: list[float], factor: float) -> None:
    segment = reals("u", len(values), bound=1e6, parties=3)
    quantised = quantise(np.array(values), segment, factor=factor)
    error = dequantise(quantised.integers, segment) - np.array(values) * factor
    assert np.abs(error).max() <= 0.5 / segment.scale
    assert quantised.clipped == 0


@given(st.lists(finite, min_size=1, max_size=50), st.floats(0, 1, exclude_max=True))
def test_stochastic_rounding_goes_to_a_neighbour_and_never_beyond_the_bound(values: list[float], chance: float) -> None:
    segment = reals("u", len(values), bound=1e6, parties=3)
    integers = quantise(np.array(values), segment, uniform=lambda n: np.full(n, chance)).integers
    exact = np.array(values) * segment.scale
    assert np.all((integers == np.floor(exact)) | (integers == np.ceil(exact)))
    assert np.abs(integers).max() <= largest(segment)


def test_stochastic_rounding_is_right_on_average() -> None:
    segment = Segment(name="u", values=100_000, bound=1.0, scale=4.0)
    integers = quantise(np.full(100_000, 0.3), segment, uniform=np.random.default_rng(0).random).integers
    assert set(integers.tolist()) == {1, 2}
    assert abs(integers.mean() - 1.2) < 0.01


def test_what_lies_beyond_the_bound_is_cut_and_counted() -> None:
    segment = reals("u", 4, bound=1.0, parties=3)
    quantised = quantise(np.array([2.0, -1e30, 1.0, 0.5]), segment)
    assert dequantise(quantised.integers, segment).tolist() == [1.0, -1.0, 1.0, 0.5]
    assert quantised.clipped == 2


def test_a_float32_update_is_quantised_as_its_float64_twin() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    segment = reals("u", 1000, bound=8.0, parties=7)
    narrow, wide = quantise(values, segment, factor=0.3), quantise(values.astype(np.float64), segment, factor=0.3)
    assert np.array_equal(narrow.integers, wide.integers)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(NotFinite):
        quantise(np.array([0.0, bad]), reals("u", 2, bound=1, parties=3))


@pytest.mark.parametrize("factor", [-0.1, 1.1, math.nan])
def test_no_factor_can_lift_a_value_over_its_bound(factor: float) -> None:
    with pytest.raises(Malformed):
        quantise(np.zeros(2), reals("u", 2, bound=1, parties=3), factor=factor)


# ------------------------------------------------------------------- refusals
@pytest.mark.parametrize("excess", [1, -1])
def test_an_integer_beyond_the_terms_is_refused_not_wrapped(excess: int) -> None:
    ring = Ring(3, [reals("u", 2, bound=1, parties=3)])
    beyond = excess * (ring.places[0].maximum + 1)
    with pytest.raises(RingExceeded):
        ring.encode({"u": np.array([0, beyond])})


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(RingExceeded):
        Ring(3, [counts("n", 1, most=10)]).encode({"n": np.array([-1])})


@pytest.mark.parametrize("parts", [
    {}, {"u": np.zeros(3, np.int64)}, {"u": np.zeros(2, np.int64), "v": np.zeros(1, np.int64)}, {"u": np.zeros(2)},
    {"u": np.zeros(2, np.uint64)},
])
def test_other_segments_shapes_and_types_than_those_of_the_terms_are_refused(parts: dict[str, np.ndarray]) -> None:
    with pytest.raises(Malformed):
        Ring(3, [reals("u", 2, bound=1, parties=3)]).encode(parts)


def test_a_sum_that_no_honest_banks_could_make_is_refused() -> None:
    ring = Ring(3, [reals("u", 1, bound=1, parties=3)])
    with pytest.raises(RingExceeded):
        ring.decode(np.array([2**32 - 1], np.uint32), 1)


def test_noise_has_room_for_twelve_standard_deviations_of_every_bank() -> None:
    segment = reals("u", 1, bound=1.0, parties=10, noise_std=2.0)
    assert largest(segment) >= (1.0 + 12 * 2.0) * segment.scale
    assert 10 * 2 * largest(segment) < 2**32


def test_the_widest_segment_of_the_largest_cohort_still_sums_in_64_bits() -> None:
    ring = Ring(MAX_COHORT, [Segment(name="u", values=1, bound=2.0**51.99, noise=2.0**47.99)])
    extreme = ring.places[0].maximum
    total = np.zeros(ring.words, np.uint32)
    for _ in range(MAX_COHORT):
        total += ring.encode({"u": np.array([extreme])})
    assert ring.decode(total, MAX_COHORT)["u"].tolist() == [MAX_COHORT * extreme]
