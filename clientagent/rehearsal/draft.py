"""Drafts a plan for a table as commented YAML, for a person to edit."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

import yaml

from clientagent.rehearsal.whole import listed, read_whole, require_columns
from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import as_text, parse_plan

FEW_VALUES = 10
"""Integers with at most this many distinct values are categories."""
MANY_VALUES, MOSTLY_UNIQUE = 1000, 0.5
"""A text column beyond either is an identifier or a date, and no feature."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", required=True)
    parser.add_argument("--label", required=True)
    parser.add_argument("--positive", help="the label's positive value, compared as text (default: 1, else the rarer value)")
    parser.add_argument("--drop", help="columns that are not features: A,B")
    parser.add_argument("--categorical", help="numeric columns to treat as categories, instead of integers with few values: A,B")
    parser.add_argument("--by", help="the column that names the institution; never a feature")
    parser.add_argument("--participants", help="slugs: a,b", default="bank-1,bank-2,bank-3")
    parser.add_argument("--project", default="project")


def run(
    *, data: str, label: str, positive: str | None, drop: str | None, categorical: str | None, by: str | None,
    participants: str, project: str,
) -> str:
    """The YAML. Raises ``DataUnfit`` and ``PlanInvalid``."""
    table = read_whole(data)
    named = listed(categorical)
    require_columns(table, [label], "--label")
    require_columns(table, listed(drop), "--drop")
    require_columns(table, named, "--categorical")
    skipped = {label, by, *listed(drop)}
    features, comments = [], []
    for name in table.column_names:
        if name in skipped:
            continue
        kind, comment = kind_of(table.column(name), named=name in named, is_named=categorical is not None)
        if kind:
            features.append({"name": name, "kind": kind})
        else:
            comments.append(f"# left out: {name} ({comment})")
    banks = [part for part in participants.split(",") if part]
    document: dict[str, Any] = {
        "project": project, "features": features,
        "label": {"name": label, "positive": positive_of(table.column(label), positive)}, "participants": banks,
    }
    if len(banks) < 3:
        document["privacy"] = {"min_banks": len(banks), "min_banks_reason": f"drafted for {len(banks)} institutions"}
    plan = parse_plan(document)
    text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    return "\n".join(["# Drafted from a table; edit it, then freeze it in the browser.", *comments, text])


def kind_of(column: Any, *, named: bool, is_named: bool) -> tuple[str, str]:
    """("numeric" | "categorical" | "", why it is left out) of one column."""
    import pyarrow.types as kinds

    kind = column.type
    if named:
        return "categorical", ""
    if kinds.is_boolean(kind):
        return "categorical", ""
    if kinds.is_integer(kind):
        few = not is_named and column.combine_chunks().drop_null().unique().__len__() <= FEW_VALUES
        return ("categorical" if few else "numeric"), ""
    if kinds.is_floating(kind) or kinds.is_decimal(kind):
        return _kind_of_float(column, is_named=is_named), ""
    if not (kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_dictionary(kind)):
        return "", f"of type {kind}"
    distinct, present = len(column.unique()), len(column) - column.null_count
    if distinct > MANY_VALUES or distinct > MOSTLY_UNIQUE * max(present, 1):
        return "", f"{distinct} distinct texts: an identifier or a date?"
    return "categorical", ""


def _kind_of_float(column: Any, *, is_named: bool) -> str:
    """Floats that are integers in truth (a missing value makes integers float) count as integers."""
    if is_named:
        return "numeric"
    values = column.unique().drop_null().to_pylist()
    whole = all(float(value).is_integer() for value in values[: FEW_VALUES + 1])
    return "categorical" if values and len(values) <= FEW_VALUES and whole else "numeric"


def positive_of(column: Any, positive: str | None) -> Any:
    """The positive value as the plan states it. Raises ``DataUnfit`` for one that no row has."""
    import pyarrow.compute as compute

    counts: dict[str, int] = {}
    for pair in compute.value_counts(column.combine_chunks()).to_pylist():
        if pair["values"] is not None:
            counts[as_text(pair["values"])] = counts.get(as_text(pair["values"]), 0) + pair["counts"]
    if len(counts) < 2:
        raise DataUnfit(expected="a label with two values", got=", ".join(counts) or "none", action="Correct --label.")
    wanted = as_text(positive) if positive is not None else ("1" if "1" in counts else min(counts, key=lambda v: (counts[v], v)))
    if wanted not in counts:
        raise DataUnfit(expected=f"one of {', '.join(sorted(counts))[:300]}", got=wanted, action="Correct --positive.")
    return int(wanted) if wanted.lstrip("-").isdecimal() else wanted
