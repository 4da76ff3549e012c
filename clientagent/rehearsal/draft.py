"""Drafts a plan for a table as commented YAML, for a person to edit."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from typing import Any

from clientagent.data.columns import is_missing
from clientagent.data.source import column_name
from clientagent.rehearsal.plan_text import plan_text
from clientagent.rehearsal.whole import listed, read_whole, require_columns
from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import as_text, parse_plan

FEW_VALUES = 10
"""Integers with at most this many distinct values are categories."""
MANY_VALUES, MOSTLY_UNIQUE = 1000, 0.5
"""A text column beyond either is an identifier, and no feature."""
LONGEST_NAME = 128
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})")
DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d.*)?")


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
) -> str:  # fmt: skip
    """The YAML. Raises ``DataUnfit`` and ``PlanInvalid``."""
    table, label = read_whole(data), column_name(label)
    named = None if categorical is None else set(listed(categorical))
    require_columns(table, [label], "--label")
    require_columns(table, listed(drop), "--drop")
    require_columns(table, sorted(named or ()), "--categorical")
    require_columns(table, listed(by), "--by")
    skipped = {label, *listed(by), *listed(drop)}
    kinds = {name: kind_of(name, table.column(name), named) for name in table.column_names if name not in skipped}
    features = [{"name": name, "kind": kind} for name, (kind, _) in kinds.items() if kind]
    if not features:
        raise DataUnfit(expected="a column that can be a feature", got="none", action="Correct --drop.")
    banks = [part for part in participants.split(",") if part]
    document: dict[str, Any] = {
        "project": project, "purpose": "fraud" if "fraud" in label.casefold() else "credit", "features": features,
        "label": {"name": label, "positive": positive_of(table.column(label), positive)}, "participants": banks,
    }  # fmt: skip
    if len(banks) < 3:
        document["privacy"] = {"min_banks": len(banks), "min_banks_reason": f"drafted for {len(banks)} institutions"}
    return plan_text(parse_plan(document), left_out={name: why for name, (kind, why) in kinds.items() if not kind})


def kind_of(name: str, column: Any, named: set[str] | None) -> tuple[str, str]:
    """("numeric" | "categorical" | "", why it is left out). ``named`` are the numeric columns to treat as categories."""
    import pyarrow.types as kinds

    kind = column.type
    if not name or len(name) > LONGEST_NAME:
        return "", f"its name does not have 1 to {LONGEST_NAME} letters"
    if column.null_count == len(column):
        return "", "every value is missing"
    if named and name in named:
        return "categorical", ""
    if kinds.is_boolean(kind):
        return "categorical" if named is None else "numeric", ""
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        return "categorical" if named is None and _few_whole_numbers(column) else "numeric", ""
    if kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_dictionary(kind):
        return _kind_of_text(column)
    return "", f"of type {kind}"


def _few_whole_numbers(column: Any) -> bool:
    """Floats that are whole count too: a missing value makes integers float."""
    values = column.unique().drop_null()
    return len(values) <= FEW_VALUES and all(float(value).is_integer() for value in values.to_pylist())


def _kind_of_text(column: Any) -> tuple[str, str]:
    values = [text for text in map(as_text, column.unique().drop_null().to_pylist()) if not is_missing(text)]
    present = len(column) - column.null_count
    if len(values) > MANY_VALUES or len(values) > max(FEW_VALUES, MOSTLY_UNIQUE * present):
        return "", f"{len(values)} distinct texts in {present} rows: an identifier?"
    if values and all(DATE.fullmatch(value) for value in values):
        return "", "dates"
    return "categorical", ""


def positive_of(column: Any, positive: str | None) -> Any:
    """The positive value as the plan states it. Raises ``DataUnfit`` for one that no row has."""
    import pyarrow.compute as compute

    counts: dict[str, int] = {}
    for pair in compute.value_counts(column.combine_chunks()).to_pylist():
        text = "" if pair["values"] is None else as_text(pair["values"])
        if not is_missing(text):
            counts[text] = counts.get(text, 0) + pair["counts"]
    if len(counts) < 2:
        raise DataUnfit(expected="a label with two values", got=", ".join(counts) or "none", action="Correct --label.")
    wanted = as_text(positive) if positive is not None else ("1" if "1" in counts else min(counts, key=lambda v: (counts[v], v)))
    if wanted not in counts:
        raise DataUnfit(expected=f"one of {', '.join(sorted(counts))[:300]}", got=wanted, action="Correct --positive.")
    return int(wanted) if WHOLE_NUMBER.fullmatch(wanted) else wanted
