"""Epsilon is what an accountant makes of all events together; noise is solved for it and never costs more."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.errors import BudgetExceeded
from clientagent.wire.privacy.accounting import LEAST_NOISE, NoiseCache, epsilon_of, noise_for
from clientagent.wire.privacy.events import plus, together
from tests.agent.private import an_event, spending


def phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def exact_gaussian_delta(epsilon: float, mu: float) -> float:
    """Balle & Wang 2018, theorem 8."""
    return phi(mu / 2 - epsilon / mu) - math.exp(epsilon) * phi(-mu / 2 - epsilon / mu)


def convolved_delta(epsilon: float, noise: float, rate: float, steps: int, *, removed: bool, width: float = 2e-4) -> float:
    """delta of the sampled Gaussian by our own hand: the loss's density on a grid, convolved with itself by FFT.

    ``removed``: the record is in the first table (mixture against Gaussian), else in the second.
    """
    x = np.linspace(-40 * noise, 40 * noise + 1, 1_500_001)
    inside = (1 - rate) * np.exp(-(x**2) / (2 * noise**2)) + rate * np.exp(-((x - 1) ** 2) / (2 * noise**2))
    outside = np.exp(-(x**2) / (2 * noise**2))
    with np.errstate(divide="ignore", invalid="ignore"):
        loss = np.log(inside) - np.log(outside)
    mass, loss = (inside, loss) if removed else (outside, -loss)
    mass = mass / mass.sum()
    kept = np.isfinite(loss) & (mass > 0)
    cells = 1 << 18
    grid = np.bincount(np.round(loss[kept] / width).astype(int) % cells, mass[kept], cells)
    composed = np.fft.irfft(np.fft.rfft(grid) ** steps, cells)
    losses = np.arange(cells) * width
    losses[cells // 2 :] -= cells * width
    return float(np.sum(composed * np.maximum(0, 1 - np.exp(epsilon - np.maximum(losses, -50)))))


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "expected"),
    [(0.0256, 1.0, 400, 1e-5, 3.25), (0.0128, 1.0, 1000, 1e-6, 2.76), (0.00512, 0.6, 2000, 1e-6, 6.47)],
)
def test_epsilon_has_its_known_values(rate, noise, steps, delta, expected):
    assert epsilon_of(spending((noise, rate, steps)), delta) == pytest.approx(expected, abs=0.005)


def test_discrete_noise_is_accounted_for_by_renyi_divergence():
    assert epsilon_of(spending((5.0, 1.0, 50), kind="discrete_gaussian"), 1e-3) == pytest.approx(5.42, abs=0.005)
    assert epsilon_of(spending((5.0, 1.0, 50), kind="gaussian"), 1e-3) == pytest.approx(4.85, abs=0.005)


@pytest.mark.parametrize(("epsilon", "noise"), [(0.5, 7.03), (1.0, 3.73), (4.0, 1.08), (8.0, 0.60)])
def test_one_release_needs_the_known_noise(epsilon, noise):
    assert noise_for(epsilon, 1e-5, steps=1, kind="gaussian") == pytest.approx(noise, abs=0.005)


@settings(max_examples=8, deadline=None)
@given(noise=st.floats(0.8, 50), steps=st.integers(1, 400), exponent=st.integers(4, 8))
def test_without_sampling_it_agrees_with_the_exact_gaussian(noise, steps, exponent):
    delta = 10.0**-exponent
    epsilon = epsilon_of(spending((noise, 1.0, steps)), delta)
    mu = math.sqrt(steps) / noise
    assert exact_gaussian_delta(epsilon, mu) <= delta * (1 + 1e-9) + 1e-15, "reported too little"
    assert exact_gaussian_delta(epsilon * 0.98 - 1e-3, mu) > delta, "reported far too much"


@pytest.mark.parametrize(("noise", "rate", "steps"), [(4.402, 0.05, 400), (0.978, 0.05, 400), (1.5, 0.2, 60)])
def test_with_sampling_it_agrees_with_a_convolution_of_our_own(noise, rate, steps):
    epsilon = epsilon_of(spending((noise, rate, steps)), 1e-6)
    worst = max(convolved_delta(epsilon, noise, rate, steps, removed=removed) for removed in (True, False))
    assert worst == pytest.approx(1e-6, rel=0.05)


@settings(max_examples=12, deadline=None)
@given(noise=st.floats(0.6, 6), rate=st.floats(0.01, 0.9), exponent=st.integers(4, 8))
def test_a_sampled_step_never_costs_less_than_the_exact_one(noise, rate, exponent):
    """One step in closed form: the hockey-stick divergence of (1 - q) N(0, z) + q N(1, z) from N(0, z)."""
    delta = 10.0**-exponent
    epsilon = epsilon_of(spending((noise, rate, 1)), delta)

    def above(place: float) -> float:
        return math.erfc(place / noise / math.sqrt(2)) / 2

    edge = noise**2 * math.log((math.exp(epsilon) - 1 + rate) / rate) + 0.5
    exact = (1 - rate) * above(edge) + rate * above(edge - 1) - math.exp(epsilon) * above(edge)
    assert exact <= delta * (1 + 1e-6)


@settings(max_examples=5, deadline=None)
@given(epsilon=st.floats(0.3, 4), steps=st.integers(20, 500), rate=st.sampled_from([0.02, 0.1, 1.0]))
def test_solved_noise_never_costs_more_and_hardly_less(epsilon, steps, rate):
    noise = noise_for(epsilon, 1e-6, steps=steps, sampling_rate=rate)
    cost = epsilon_of(spending((noise, rate, steps)), 1e-6)
    assert cost <= epsilon
    assert cost >= epsilon * 0.999 or noise == LEAST_NOISE


def test_noise_leaves_room_for_what_is_beside_it():
    statistics = spending((noise_for(0.1, 1e-6, steps=1, kind="gaussian"), 1.0, 1), kind="gaussian")
    noise = noise_for(1.0, 1e-6, steps=400, sampling_rate=0.05, beside=statistics)
    both = plus(statistics, spending((noise, 0.05, 400)))
    assert 0.999 <= epsilon_of(both, 1e-6) <= 1.0
    assert epsilon_of(spending((noise, 0.05, 400)), 1e-6) > 0.9, "epsilons do not add up: the two together cost less"


def test_no_noise_helps_where_others_spent_everything():
    with pytest.raises(BudgetExceeded):
        noise_for(1.0, 1e-6, steps=10, beside=spending((1.0, 1.0, 4)))


def test_events_are_grouped_whatever_their_order():
    first, second = an_event(release="b" * 64, noise_multiplier=3.0), an_event(release="c" * 64)
    assert together([an_event(), first, second]) == together([second, an_event(), first])
    assert dict(together([an_event(), second]).groups) == {an_event().what: 20}


def test_what_noise_does_not_cover_is_taken_from_delta():
    covered = spending((5.0, 1.0, 1))
    assert epsilon_of(spending((5.0, 1.0, 1), failure=9e-7), 1e-6) == epsilon_of(covered, 1e-6 - 9e-7) > epsilon_of(covered, 1e-6)
    assert epsilon_of(spending((5.0, 1.0, 1), failure=1e-6), 1e-6) == math.inf


def test_nothing_costs_nothing():
    assert epsilon_of(spending(), 1e-6) == 0


def test_solved_noise_is_kept_on_disk_but_not_believed(tmp_path):
    cache = NoiseCache(tmp_path / "noise.json")
    noise = noise_for(1.0, 1e-6, steps=50, sampling_rate=0.1, cache=cache)
    text = (tmp_path / "noise.json").read_text()
    assert f"{noise:g}" in text
    (tmp_path / "noise.json").write_text(text.replace(f"{noise:g}", "0.5"))
    assert noise_for(1.0, 1e-6, steps=50, sampling_rate=0.1, cache=cache) == noise
    (tmp_path / "noise.json").write_text("[torn")
    assert noise_for(1.0, 1e-6, steps=50, sampling_rate=0.1, cache=cache) == noise


def test_importing_the_accountant_imports_neither_scipy_nor_torch():
    code = (
        "import sys; import clientagent.wire.privacy.accounting, clientagent.wire.privacy.book; "
        "print([name for name in ('dp_accounting', 'scipy', 'torch', 'opacus') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
