"""Where noise comes from, and that discrete noise has its distribution to the last bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.privacy.discrete import discrete_gaussian, discrete_laplace, exp_bounds, happens, is_below
from clientagent.wire.privacy.stream import BLOCK, Stream

KEY = bytes(range(32))


def chi_square(sample: np.ndarray, density: np.ndarray, places: np.ndarray) -> tuple[float, int]:
    expected = density / density.sum() * len(sample)
    found = np.array([np.count_nonzero(sample == place) for place in places])
    common = expected > 10
    return float(np.sum((found - expected)[common] ** 2 / expected[common])), int(common.sum()) - 1


# ----------------------------------------------------------------------- stream
def test_the_stream_is_chacha20():
    # RFC 8439, appendix A.1, test vector 1: key and nonce of zeros, block 0
    assert Stream(bytes(32)).words(1)[0] == int.from_bytes(bytes.fromhex("76b8e0ada0f13d90"), "little")


def test_how_it_is_cut_into_draws_does_not_change_the_stream():
    whole, parts = Stream(KEY).words(BLOCK // 4), Stream(KEY)
    assert np.array_equal(np.concatenate([parts.words(1000), parts.words(BLOCK // 4 - 1000)]), whole)


def test_children_are_fixed_by_their_name_and_independent_of_what_was_drawn():
    parent = Stream(KEY)
    first = parent.child("noise").words(4)
    parent.words(100)
    assert np.array_equal(parent.child("noise").words(4), first)
    assert not np.array_equal(parent.child("rows").words(4), first)
    assert not np.array_equal(Stream(KEY).words(4), first)


def test_fresh_streams_differ():
    assert Stream.fresh().words(2).tolist() != Stream.fresh().words(2).tolist()


def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        Stream(b"short")


def test_gaussian_noise_is_normal():
    sample = Stream(KEY).gaussian(200_001)
    for moment, expected in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        spread = math.sqrt(math.prod(range(2 * moment - 1, 0, -2)) / 2e5)
        assert np.mean(sample**moment) == pytest.approx(expected, abs=6 * spread)
    for threshold in (1.0, 2.0, 3.0):
        tail = 0.5 * math.erfc(threshold / math.sqrt(2))
        assert np.mean(sample > threshold) == pytest.approx(tail, abs=5 * math.sqrt(tail / 2e5))
    assert abs(np.corrcoef(sample[:100_000], sample[100_001:])[0, 1]) < 0.02


# --------------------------------------------------------------------- discrete
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.3, 20.0])
def test_the_discrete_gaussian_has_its_distribution(sigma):
    sample = discrete_gaussian(sigma, 100_000, Stream(KEY))
    places = np.arange(-200, 201)
    statistic, freedom = chi_square(sample, np.exp(-(places**2) / (2 * sigma**2)), places)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_the_discrete_laplace_has_its_distribution():
    sample = discrete_laplace(4, 200_000, Stream(KEY))
    places = np.arange(-100, 101)
    statistic, freedom = chi_square(sample, np.exp(-np.abs(places) / 4), places)
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("sigma", [1000.5, 2.0**20, 2.0**45])
def test_large_scales_look_like_the_gaussian(sigma):
    sample = discrete_gaussian(sigma, 100_000, Stream(KEY)) / sigma
    for moment, expected in ((1, 0), (2, 1), (4, 3)):
        assert np.mean(sample**moment) == pytest.approx(expected, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(sigma=st.floats(0.01, 2.0**40), count=st.integers(0, 300))
def test_as_many_as_asked_for_and_the_same_again(sigma, count):
    first = discrete_gaussian(sigma, count, Stream(KEY))
    assert first.shape == (count,)
    assert first.dtype == np.int64
    assert np.array_equal(first, discrete_gaussian(sigma, count, Stream(KEY)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 2.0**49])
def test_no_scale_is_no_noise_and_refused(sigma):
    with pytest.raises(ValueError, match="sigma"):
        discrete_gaussian(sigma, 1, Stream(KEY))


def test_a_close_decision_is_made_with_exact_numbers():
    truth = Fraction(7165313105737892504256040969492640444722, 10**40)  # exp(-1/3), 40 digits
    word = math.floor(truth * 2**64)
    assert is_below(word - 1, Fraction(1, 3), Stream(KEY)) is True
    assert is_below(word + 1, Fraction(1, 3), Stream(KEY)) is False
    # on the very word the next 64 bits decide
    next_bits = math.floor((truth * 2**64 - word) * 2**64)
    for key in range(20):
        stream, again = Stream(bytes([key]) * 32), Stream(bytes([key]) * 32)
        assert is_below(word, Fraction(1, 3), stream) is (int(again.words(1)[0]) < next_bits)


@settings(max_examples=30, deadline=None)
@given(exponent=st.fractions(0, 700, max_denominator=10**6), digits=st.integers(20, 80))
def test_bounds_of_an_exponential_close_around_it(exponent, digits):
    low, high = exp_bounds(exponent, digits)
    assert 0 <= low < high
    assert high - low <= low * Fraction(1, 10 ** (digits - 6)) + Fraction(1, 10**400)
    finer_low, finer_high = exp_bounds(exponent, digits + 30)
    assert low <= finer_low
    assert finer_high <= high


def test_decisions_that_rounding_could_make_go_the_exact_way():
    asked = []

    def exact(i):
        asked.append(i)
        return Fraction(1, 2)

    close = happens(np.full(500, 0.5), exact, Stream(KEY), margin=1.0)  # so that nearly every draw is a close one
    assert len(asked) > 400
    assert np.array_equal(close, happens(np.full(500, 0.5), exact, Stream(KEY)))


def test_a_chance_of_one_always_comes_true():
    assert happens(np.zeros(1000), lambda i: Fraction(0), Stream(KEY)).all()
