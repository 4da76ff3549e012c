"""What a plan under record_dp takes from common knowledge, guessed from a table: bounds of numbers and lists of categories.

For rehearsals only. A real plan takes both from the data dictionary, because what is read off the data is not private.
"""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clientagent.data import check_table
from clientagent.data.table import Categories, Numbers
from clientagent.wire.plan import Plan, parse_plan

TAIL = 0.005
"""Share of values that may lie beyond each bound: they are cut, and a tighter range needs less noise."""
STEPS = (1.0, 2.0, 5.0, 10.0)
MOST_CATEGORIES = 1000
"""A column with more values than that keeps its categories open: the statistics stage then finds the frequent ones, with noise."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--plan", required=True, help="the plan as JSON")
    parser.add_argument("--data", required=True)


def run(*, plan: str, data: str) -> str:
    """The plan as JSON. Raises ``DataUnfit``."""
    stated = parse_plan(json.loads(Path(plan).read_text(encoding="utf-8")))
    table = check_table(stated, Path(data)).require()
    return with_knowledge(stated, table.numeric, table.categorical).canonical_text


def with_knowledge(plan: Plan, numeric: Mapping[str, Numbers], categorical: Mapping[str, Categories]) -> Plan:
    """The plan with bounds for its numbers and lists for its categories, where it has none of its own and asks for record_dp."""
    record = plan.privacy.record_dp
    if record is None:
        return plan
    document = plan.model_dump(mode="json")
    known = {feature.name for feature in plan.features if feature.kind == "numeric"} & numeric.keys()
    guessed = {name: bounds_of(numeric[name]) for name in sorted(known)}
    document["privacy"]["record_dp"]["bounds"] = {**guessed, **record.bounds}
    for feature in document["features"]:
        if feature["kind"] == "categorical" and feature["categories"] is None and feature["name"] in categorical:
            feature["categories"] = categories_of(categorical[feature["name"]]) or None
    return parse_plan(document)


def bounds_of(column: Numbers) -> tuple[float, float]:
    """Round numbers around all but the most extreme values."""
    present = column[np.isfinite(column)]
    if not len(present):
        return 0.0, 1.0
    low, high = (float(value) for value in np.quantile(present, [TAIL, 1 - TAIL]))
    if low == high:
        low, high = float(present.min()), float(present.max())
    if low == high:
        return low - 1, low + 1
    unit = _round_unit((high - low) / 10)
    return math.floor(low / unit) * unit, math.ceil(high / unit) * unit


def categories_of(column: Categories) -> list[Any]:
    """All that occur, the most frequent first, as a dictionary of the data would list them."""
    counts = column.counts()
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    return [column.values[i] for i in order] if len(order) <= MOST_CATEGORIES else []


def _round_unit(width: float) -> float:
    """The 1, 2 or 5 times a power of ten next below ``width``."""
    power = 10.0 ** math.floor(math.log10(width))
    return max(step for step in STEPS if step * power <= width * (1 + 1e-9)) * power
