"""How far a bank's table has moved: each feature against the frozen specification and against what the bank itself counted then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Table
from clientagent.home import Home
from clientagent.preparation.preprocess import bin_numbers, category_places
from clientagent.wire.evaluation.stability import STABLE, UNSTABLE
from clientagent.wire.messages import (
    CategoricalInput,
    CategoricalStatistics,
    CategoricalWoe,
    NumericStatistics,
    PreprocessingSpec,
    StatisticsReport,
)
from clientagent.wire.messages.preprocessing import AnyCategorical, AnyNumeric
from clientagent.wire.signing import parse

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class Basis:
    """What a table is compared with: a run's specification, and this bank's own report for it."""

    run: str
    spec: PreprocessingSpec
    own: StatisticsReport | None


@dataclass(frozen=True)
class Drift:
    """``psi`` against all banks' customers then, ``own_psi`` against this bank's own; None where no shares are known.

    ``unknown``: the share of customers with a value that no bin or category stands for. ``missing`` now and ``missing_then``.
    """

    feature: str
    psi: float | None
    own_psi: float | None
    missing: float
    missing_then: float | None
    unknown: float

    @property
    def verdict(self) -> str:
        """``stable``, ``watch`` or ``shifted``, by the bank's own figures where they are known; ``unknown`` without any."""
        psi = self.psi if self.own_psi is None else self.own_psi
        if psi is None:
            return "unknown"
        return "stable" if psi < STABLE else "watch" if psi < UNSTABLE else "shifted"


def basis_of(home: Home, plan_hash: str) -> Basis | None:
    """Of the newest run of a plan that this bank takes part in; None before there is one."""
    for folder in reversed(home.runs()):
        answer, said = folder.pinned, folder.statistics
        if answer is None or answer.preprocessing.plan_hash != plan_hash:
            continue
        is_report = said is not None and said.document.get("type") == "statistics_report"
        return Basis(folder.id, answer.preprocessing, parse(StatisticsReport, said.document) if said and is_report else None)
    return None


def drift_of(basis: Basis, table: Table) -> list[Drift]:
    """Each feature of the specification, the largest shift first. All rows of the table count."""
    numbers = {one.name: one for one in basis.own.numeric} if basis.own else {}
    categories = {one.name: one for one in basis.own.categorical} if basis.own else {}
    found = [_number(entry, numbers.get(entry.name), table) for entry in basis.spec.numeric]
    found += [_category(entry, categories.get(entry.name), table) for entry in basis.spec.categorical]
    return sorted(found, key=lambda one: -((one.psi if one.own_psi is None else one.own_psi) or 0.0))


def population_stability(then: Shares, now: Shares, rows: int) -> float:
    """Sum of (now - then) ln(now / then) over bins (bins,); a bin that holds nobody counts as half of ``rows`` customers' one."""
    least = 0.5 / max(rows, 1)
    e, a = np.maximum(then, least), np.maximum(now, least)
    e, a = e / e.sum(), a / a.sum()
    return float(np.sum((a - e) * np.log(a / e)))


def _number(entry: AnyNumeric, own: NumericStatistics | None, table: Table) -> Drift:
    column, profile = table.numeric[entry.name], entry.profile
    missing = float(np.isnan(column).mean())
    if profile is None:
        return Drift(entry.name, None, None, missing, None, 0.0)
    bins = len(profile.edges) + 1
    now = _shares(bin_numbers(profile.edges, column), bins)
    then = np.array([*profile.shares, profile.missing])
    before = _own_number(own, profile.edges) if own else None
    own_psi = None if before is None else population_stability(before, now, table.rows)
    return Drift(entry.name, population_stability(then, now, table.rows), own_psi, missing, profile.missing, 0.0)


def _own_number(own: NumericStatistics, edges: list[float]) -> Shares | None:
    """What this bank counted then, in these bins; cells that lie astride an edge count in the bin of their upper end."""
    if own.cells is None:
        return None
    open_end = [np.inf] * (len(own.cells.customers) - len(own.cells.upper))
    places = np.searchsorted(edges, [*own.cells.upper, *open_end], side="left")
    counts = np.bincount(places, own.cells.customers, minlength=len(edges) + 1)
    return np.append(counts, own.missing) / max(own.count + own.missing, 1)


def _category(entry: AnyCategorical, own: CategoricalStatistics | None, table: Table) -> Drift:
    width = len(entry.categories)
    places = category_places(entry.categories, table.categorical[entry.name])
    now = np.bincount(places, minlength=width + 2) / max(table.rows, 1)
    psi = population_stability(np.array(entry.shares), now, table.rows) if entry.shares else None
    own_psi = None if own is None else population_stability(_own_category(own, entry), now, table.rows)
    then = entry.shares[-1] if entry.shares else None
    return Drift(entry.name, psi, own_psi, float(now[-1]), then, float(now[-2]) if _is_closed(entry) else 0.0)


def _own_category(own: CategoricalStatistics, entry: AnyCategorical) -> Shares:
    known = [own.counts.get(value, 0) for value in entry.categories]
    other = own.other + sum(own.counts.values()) - sum(known)
    counts = np.array([*known, other, own.missing], np.float64)
    total = counts.sum()
    return counts / total if total else counts


def _is_closed(entry: AnyCategorical) -> bool:
    """Whether a value outside of the categories is nothing that the model has seen."""
    if isinstance(entry, CategoricalWoe):
        return not entry.other.good + entry.other.bad
    return isinstance(entry, CategoricalInput) and not entry.other


def _shares(places: NDArray[np.int64], bins: int) -> Shares:
    """Shares (bins + 1,), missing last."""
    return np.bincount(np.where(places < 0, bins, places), minlength=bins + 1) / max(len(places), 1)
