"""Where a value lies among the bins of its feature, and how a person is told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Table
from clientagent.preparation.preprocess import bin_numbers, category_places
from clientagent.scoring.reasons import Kind
from clientagent.wire.messages import CategoricalInput, CategoricalWoe, NumericInput, WoeInput
from clientagent.wire.messages.preprocessing import AnyCategorical, AnyNumeric, bin_words

Entry = AnyNumeric | AnyCategorical


def bins_between(entry: AnyNumeric) -> list[float]:
    """The edges between which a number's values are told apart; of z-scores without a profile, one and two deviations."""
    if entry.profile is not None:
        return entry.profile.edges
    if isinstance(entry, NumericInput):
        return [entry.mean + entry.scale * k for k in (-2, -1, 0, 1, 2)]
    return []


def line_places(entry: Entry, table: Table) -> NDArray[np.int64]:
    """Which line of a card a row is in; -1, the last one, is missing."""
    if isinstance(entry, CategoricalInput | CategoricalWoe):
        return category_places(entry.categories, table.categorical[entry.name])
    return bin_numbers(entry.edges if isinstance(entry, WoeInput) else bins_between(entry), table.numeric[entry.name])


def candidate_places(entry: Entry, table: Table, count: int) -> NDArray[np.int64]:
    """Which candidate a row is; -1 where it is none of them."""
    if isinstance(entry, CategoricalInput | CategoricalWoe):
        places = category_places(entry.categories, table.categorical[entry.name])
        return np.where(places < count, places, -1)
    return bin_numbers(bins_between(entry), table.numeric[entry.name])


def told(entry: Entry, table: Table, row: int) -> tuple[Kind, str, str]:
    """(kind, the value as people write it, what is typical) of one row."""
    if not isinstance(entry, CategoricalInput | CategoricalWoe):
        return _told_number(entry, float(table.numeric[entry.name][row]))
    column = table.categorical[entry.name]
    code = int(column.codes[row])
    if code < 0:
        return Kind.MISSING, "", ""
    value = column.values[code]
    return (Kind.VALUE if value in entry.categories else Kind.RARE), value, ""


def _told_number(entry: AnyNumeric, value: float) -> tuple[Kind, str, str]:
    if np.isnan(value):
        return Kind.MISSING, "", ""
    low, high, words = _typical(entry)
    kind = Kind.LOW if value <= low else Kind.HIGH if value > high else Kind.TYPICAL
    return kind, f"{value:.10g}", words


def _typical(entry: AnyNumeric) -> tuple[float, float, str]:
    """(low, high, in words) of the bin in which the median customer lies; without a profile, the mean."""
    profile = entry.profile
    if profile is None or not profile.edges:
        centre = entry.mean if isinstance(entry, NumericInput) else float("nan")
        return centre, centre, f"{centre:.6g}"
    below = np.cumsum(profile.shares) / max(sum(profile.shares), 1e-12)
    place = int(np.searchsorted(below, 0.5))
    bounds = [-np.inf, *profile.edges, np.inf]
    return bounds[place], bounds[place + 1], bin_words(profile.edges)[place]
