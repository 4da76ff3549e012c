"""From events to epsilon and from epsilon to noise. dp-accounting does the mathematics; here is decided which of it is used.

Record level and server-side noise: privacy-loss distributions (PLD), tight and never optimistic. Where discrete noise was summed
from shares: Renyi (RDP), because a PLD is not proven for a sum in many dimensions. Never the Gaussian-limit accountant, which
reports too little, and never a sum of epsilons. dp-accounting is imported on first use: it takes a second.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from clientagent.wire.errors import BudgetExceeded, PlanUnsupported
from clientagent.wire.messages.privacy import Kind, Mechanism
from clientagent.wire.privacy.events import Spending, plus

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Cost = Callable[[float], float]
"""From a noise multiplier to the epsilon that it leads to."""
VERSION = "0.6.0"
ACCOUNTANT = f"dp-accounting {VERSION}"
LEAST_NOISE, MOST_NOISE = 0.3, 1e6
"""Below that noise a step costs tens of epsilon: no promise worth the name."""
TOLERANCE = 1e-4
"""How close to the allowed epsilon the noise is solved, relatively; always on the safe side."""
DIGITS = 6


def is_available() -> bool:
    from importlib.util import find_spec

    return find_spec("dp_accounting") is not None


def require_accountant() -> None:
    """Raises ``PlanUnsupported`` where the extra is not installed."""
    if not is_available():
        raise PlanUnsupported(expected=f"{ACCOUNTANT}: pip install 'fedagent[privacy]'", got="none installed")


@lru_cache(maxsize=4096)
def epsilon_of(spending: Spending, delta: float) -> float:
    """The epsilon of everything together at ``delta``; infinity where ``delta`` is used up. Never too small."""
    left = delta - spending.failure
    if not spending.groups:
        return 0.0 if left >= 0 else math.inf
    if left <= 0:
        return math.inf
    require_accountant()
    discrete = any(mechanism.kind == "discrete_gaussian" for mechanism, _ in spending.groups)
    return _renyi(spending, left) if discrete else _loss_distribution(spending, left)


def _loss_distribution(spending: Spending, delta: float) -> float:
    interval = min(_interval(mechanism) for mechanism, _ in spending.groups)
    composed: PrivacyLossDistribution | None = None
    for mechanism, count in sorted(spending.groups):
        part = _one_step(mechanism, interval).self_compose(count)
        composed = part if composed is None else composed.compose(part)
    assert composed is not None
    return float(composed.get_epsilon_for_delta(delta))


def _interval(mechanism: Mechanism) -> float:
    """A tenth of one step's typical loss, q / z: coarser exaggerates epsilon, finer only takes longer."""
    typical = mechanism.sampling_rate / mechanism.noise_multiplier
    return min(3e-4, max(typical / 10, 1e-5))


@lru_cache(maxsize=8)
def _one_step(mechanism: Mechanism, interval: float) -> PrivacyLossDistribution:
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    return from_gaussian_mechanism(
        mechanism.noise_multiplier, sampling_prob=mechanism.sampling_rate, value_discretization_interval=interval
    )


def _renyi(spending: Spending, delta: float) -> float:
    import dp_accounting as dp

    accountant = dp.rdp.RdpAccountant()
    for (kind, noise, rate), count in sorted(spending.groups):
        if kind == "discrete_gaussian":  # zero-concentrated with rho = 1 / (2 z^2) (Canonne, Kamath, Steinke 2020, theorem 4)
            accountant.compose(dp.ZCDpEvent(1 / (2 * noise * noise)), count)
        else:
            accountant.compose(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), count)
    return float(accountant.get_epsilon(delta))


class NoiseCache:
    """Solved noise on disk. What is read is checked before it is used, so a damaged file costs time and never privacy."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> float | None:
        try:
            value = json.loads(self._path.read_text())[key]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return float(value) if isinstance(value, (int, float)) and LEAST_NOISE <= value <= MOST_NOISE else None

    def put(self, key: str, noise: float) -> None:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            known = {}
        known = known if isinstance(known, dict) else {}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        beside.write_text(json.dumps({**known, key: noise}, indent=0, sort_keys=True))
        os.replace(beside, self._path)


def noise_for(
    epsilon: float, delta: float, *, steps: int, sampling_rate: float = 1.0, kind: Kind = "dp_sgd",
    beside: Spending | None = None, cache: NoiseCache | None = None,
) -> float:
    """The least noise multiplier with which ``steps`` steps, and what is spent ``beside`` them, cost at most ``epsilon``.

    Raises ``BudgetExceeded`` where no noise suffices, because what is beside them costs that much alone.
    """
    others = beside or Spending(frozenset(), 0.0)
    key = json.dumps([VERSION, kind, epsilon, delta, sampling_rate, steps, sorted(others.groups), others.failure])
    known = cache.get(key) if cache else None
    if known is not None and _cost(known, delta, kind, sampling_rate, steps, others) <= epsilon:
        return known
    noise = _least_noise(epsilon, delta, kind, sampling_rate, steps, others)
    if cache:
        cache.put(key, noise)
    return noise


def _cost(noise: float, delta: float, kind: Kind, rate: float, steps: int, others: Spending) -> float:
    return epsilon_of(plus(Spending(frozenset({(Mechanism(kind, noise, rate), steps)}), 0.0), others), delta)


@lru_cache(maxsize=256)
def _least_noise(epsilon: float, delta: float, kind: Kind, rate: float, steps: int, others: Spending) -> float:
    if (spent := epsilon_of(others, delta)) >= epsilon:
        raise BudgetExceeded(
            expected=f"an epsilon of {epsilon:g} in all", got=f"{spent:.4g} without any training",
            action="Give the run a larger epsilon, or its statistics a smaller share of it.",
        )
    return _solve(
        lambda noise: _cost(noise, delta, kind, rate, steps, others), epsilon, start=_guess(epsilon, delta, rate, steps)
    )


def _guess(epsilon: float, delta: float, rate: float, steps: int) -> float:
    """Where to look first: the central limit of the sampled Gaussian (Bu et al. 2020), which is near but proves nothing."""
    loss = epsilon / math.sqrt(2 * math.log(1.25 / delta))
    squared = (loss / rate) ** 2 / steps
    noise = 1 / math.sqrt(squared if rate == 1 else math.log1p(squared))
    return min(max(noise, LEAST_NOISE), MOST_NOISE)


def _solve(cost: Cost, epsilon: float, start: float) -> float:
    """The least noise (rounded up) whose cost is within epsilon: bracket, then secants on logarithms, kept inside the bracket."""
    low, high = _bracket(cost, epsilon, start)
    if low == high:
        return low
    low_cost, high_cost = cost(low), cost(high)
    for _ in range(60):
        if high_cost >= epsilon * (1 - TOLERANCE) or high / low <= 1 + 1e-6:
            break
        middle = _round_up(_secant(low, low_cost, high, high_cost, epsilon))
        if not low < middle < high:
            middle = math.sqrt(low * high)
        middle_cost = cost(middle)
        if middle_cost <= epsilon:
            high, high_cost = middle, middle_cost
        else:
            low, low_cost = middle, middle_cost
    return high


def _bracket(cost: Cost, epsilon: float, start: float) -> tuple[float, float]:
    """(too little, enough). Both are ``LEAST_NOISE`` where even that is enough."""
    high = _round_up(start)
    while cost(high) > epsilon:
        if high >= MOST_NOISE:
            raise BudgetExceeded(expected=f"noise of at most {MOST_NOISE:g}", got=f"an epsilon of {epsilon:g}")
        high = min(_round_up(high * 1.5), MOST_NOISE)
    low = high
    while low > LEAST_NOISE and cost(low) <= epsilon:
        high, low = low, max(low / 1.5, LEAST_NOISE)
    return (low, low) if cost(low) <= epsilon else (low, high)


def _secant(low: float, low_cost: float, high: float, high_cost: float, epsilon: float) -> float:
    if not (math.isfinite(low_cost) and low_cost > high_cost > 0):
        return math.sqrt(low * high)
    share = math.log(low_cost / (epsilon * (1 - TOLERANCE / 2))) / math.log(low_cost / high_cost)
    return float(low * (high / low) ** min(max(share, 0.02), 0.98))


def _round_up(noise: float) -> float:
    """Six significant digits: a number that people can read and that canonical JSON keeps."""
    unit = 10.0 ** (math.floor(math.log10(noise)) + 1 - DIGITS)
    rounded = float(f"{math.ceil(noise / unit) * unit:.{DIGITS}g}")
    return rounded if rounded >= noise else float(f"{(math.ceil(noise / unit) + 1) * unit:.{DIGITS}g}")
