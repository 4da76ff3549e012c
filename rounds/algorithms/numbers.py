"""How one number becomes inputs, for each method of a plan: from what all banks counted to the specification's entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from clientagent.wire.errors import StatisticsInvalid
from clientagent.wire.messages import (
    BinsInput,
    NumericStatistics,
    PiecewiseInput,
    Profile,
    QuantileInput,
    WoeInput,
)
from clientagent.wire.plan import Plan
from rounds.algorithms.binning import even_levels, merged_edges, monotonic_edges, quantile_edges, sound_bins
from rounds.algorithms.cells import Counts, PooledCells, pool_cells
from rounds.algorithms.evidence import evidence_of, information_value

Parts = Sequence[NumericStatistics]
Entry = QuantileInput | BinsInput | PiecewiseInput | WoeInput

COMPARED = 10
"""Bins of the profile that a bank compares its table with."""
TAIL = 0.01
"""Piecewise ramps span the range between this share of the customers and the rest; beyond they are flat."""
TAILS = (0.005, 0.01, 0.025)
"""More knots of normal scores towards either end."""
CUSTOMERS_A_BIN, EVENTS_A_BIN = 50, 25
"""Fewer customers, or fewer of the rarer class, on average make a bin more noise than signal."""


def pooled_of(parts: Parts) -> PooledCells | None:
    """All banks' cells of one number; None where they are not counted."""
    cells = [part.cells for part in parts if part.cells is not None]
    return pool_cells(cells) if cells else None


def profile_of(plan: Plan, parts: Parts, pooled: PooledCells, edges: list[float] | None = None) -> Profile:
    """How the customers lie between ``edges``, by default in tenths, for a bank to compare its table with."""
    if edges is None:
        sound = sound_bins(plan.privacy.min_banks, plan.privacy.min_cell)
        edges = merged_edges(pooled, quantile_edges(pooled, even_levels(COMPARED)), sound)
    customers = pooled.in_bins(edges)[0].sum(axis=0)
    missing = _told(plan, parts)[0]
    rows = pooled.total + missing
    return Profile(
        edges=edges, shares=[int(n) / rows for n in customers], missing=missing / rows, rank_error=pooled.rank_error(edges)
    )  # fmt: skip


def entry_of(plan: Plan, parts: Parts, pooled: PooledCells, *, indicator: bool) -> Entry | None:
    """The entry by the plan's method; None for a number that would give no input. Raises ``StatisticsInvalid``."""
    entry = _METHODS[plan.numeric_method](plan, parts, pooled)
    profile = profile_of(plan, parts, pooled, entry.edges if isinstance(entry, BinsInput | WoeInput) else entry.knots)
    entry = entry.model_copy(update={"indicator": indicator, "profile": profile})
    return entry if entry.input_names else None


def most_bins(plan: Plan, pooled: PooledCells) -> int:
    """As many bins as the plan wants and the customers bear."""
    return max(2, min(plan.preprocessing.bins, pooled.total // CUSTOMERS_A_BIN))


def _bins(plan: Plan, parts: Parts, pooled: PooledCells) -> BinsInput:
    return BinsInput(name=parts[0].name, edges=_edges(plan, pooled))


def _edges(plan: Plan, pooled: PooledCells) -> list[float]:
    sound = sound_bins(plan.privacy.min_banks, plan.privacy.min_cell)
    return merged_edges(pooled, quantile_edges(pooled, even_levels(most_bins(plan, pooled))), sound)


def _piecewise(plan: Plan, parts: Parts, pooled: PooledCells) -> PiecewiseInput:
    levels = np.concatenate([[TAIL], even_levels(most_bins(plan, pooled)), [1 - TAIL]])
    return PiecewiseInput(name=parts[0].name, knots=_knots(plan, pooled, np.unique(levels)))


def _knots(plan: Plan, pooled: PooledCells, levels: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    sound = sound_bins(plan.privacy.min_banks, plan.privacy.min_cell)
    return merged_edges(pooled, quantile_edges(pooled, levels, top=True), sound)


def _quantile(plan: Plan, parts: Parts, pooled: PooledCells) -> QuantileInput:
    """Scores are normal quantiles of mid-ranks, so that a value which many share gets the middle of their ranks."""
    levels = np.unique([*TAILS, *even_levels(most_bins(plan, pooled)), *(1 - tail for tail in TAILS)])
    knots = _knots(plan, pooled, levels)
    places = np.searchsorted(pooled.points, knots)
    shares = np.concatenate([[0.0], pooled.shares])
    middles = (shares[places] + shares[places + 1]) / 2
    beyond = (1 + shares[places[-1] + 1]) / 2 if knots else 0.5
    scores = [_normal(float(middle)) for middle in middles]
    last = _normal(float(beyond)) if beyond < 1 else scores[-1]
    return QuantileInput(name=parts[0].name, knots=knots, scores=scores, beyond=last)


def _normal(share: float) -> float:
    return float(f"{NormalDist().inv_cdf(share):.9g}")


def _woe(plan: Plan, parts: Parts, pooled: PooledCells) -> WoeInput:
    bad = sum(sum(part.cells.bad) for part in parts if part.cells is not None)
    missing, missing_bad = _told(plan, parts)
    require_both_classes(parts[0].name, pooled.total + missing - bad - missing_bad, bad + missing_bad)
    events = min(bad, pooled.total - bad)
    bins = max(2, min(most_bins(plan, pooled), events // EVENTS_A_BIN))
    sound = sound_bins(plan.privacy.min_banks, plan.privacy.min_cell, plan.privacy.min_cell)
    edges = merged_edges(pooled, quantile_edges(pooled, even_levels(bins)), sound)
    if plan.model.family == "scorecard":
        edges = _monotonic(pooled, edges)
    evidence, iv = evidence_of(*_good_bad(pooled, edges, missing, missing_bad))
    return WoeInput(name=parts[0].name, edges=edges, bins=evidence[:-1], missing=evidence[-1], iv=iv)


def _good_bad(pooled: PooledCells, edges: list[float], missing: int = 0, missing_bad: int = 0) -> tuple[Counts, Counts]:
    customers, bad = (counts.sum(axis=0) for counts in pooled.in_bins(edges))
    return np.append(customers - bad, missing - missing_bad), np.append(bad, missing_bad)


def _monotonic(pooled: PooledCells, edges: list[float]) -> list[float]:
    """Whichever direction keeps more information."""
    customers, bad = (counts.sum(axis=0) for counts in pooled.in_bins(edges))
    ways = [monotonic_edges(edges, customers - bad, bad, rising=rising) for rising in (True, False)]
    return max(ways, key=lambda way: information_value(*_good_bad(pooled, way)))


def _told(plan: Plan, parts: Parts) -> tuple[int, int]:
    """Missing customers and the bad among them, where enough banks have any."""
    if sum(part.missing > 0 for part in parts) < plan.privacy.min_banks:
        return 0, 0
    return sum(part.missing for part in parts), sum(part.missing_bad for part in parts)


def require_both_classes(name: str, good: int, bad: int) -> None:
    """Raises ``StatisticsInvalid`` where evidence cannot be weighed."""
    if not good or not bad:
        raise StatisticsInvalid(
            expected=f"{name}: good and bad customers to weigh evidence by", got=f"{good} good and {bad} bad ones",
            action="Check the label and its positive value, or choose a preprocessing other than woe.",
        )  # fmt: skip


_METHODS: dict[str, Callable[[Plan, Parts, PooledCells], Entry]] = {
    "bins": _bins, "piecewise": _piecewise, "quantile": _quantile, "woe": _woe
}  # fmt: skip
