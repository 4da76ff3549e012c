"""A drafted plan says of each column what it is, or why it is left out, and reads back as the same plan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.data import check_table
from clientagent.rehearsal import draft
from clientagent.rehearsal.plan_text import plan_text
from clientagent.wire.combinations import conflicts
from clientagent.wire.errors import DataUnfit
from clientagent.wire.plan import Plan, parse_plan
from tests.agent.tables import plan_of

ROWS = 60


def table(path: Path, **columns: Any) -> Path:
    base = {
        "amount": np.arange(ROWS) * 1.5, "grade": np.arange(ROWS) % 10, "age": np.arange(ROWS) % 11,
        "region": ["north", "south", "Ost"] * 20, "default": np.arange(ROWS) % 3 // 2,
    }  # fmt: skip
    kept = {name: column for name, column in {**base, **columns}.items() if column is not None}
    parquet.write_table(pa.table(kept), path)
    return path


def drafted(data: Path, **changes: Any) -> tuple[Plan, str]:
    options: dict[str, Any] = {
        "label": "default", "positive": None, "drop": None, "categorical": None, "by": None,
        "participants": "north,south,east", "project": "retail",
    }  # fmt: skip
    text = draft.run(data=str(data), **{**options, **changes})
    return parse_plan(yaml.safe_load(text)), text


def kinds(plan: Plan) -> dict[str, str]:
    return {feature.name: feature.kind for feature in plan.features}


def test_numbers_are_numeric_but_integers_with_few_values_and_texts_are_categories(tmp_path: Path) -> None:
    plan, _ = drafted(table(tmp_path / "t.parquet"))
    assert kinds(plan) == {"amount": "numeric", "grade": "categorical", "age": "numeric", "region": "categorical"}


def test_whole_floats_are_integers_that_a_missing_value_made_floats(tmp_path: Path) -> None:
    rate = [0.5, 1.0, None] * 20
    plan, _ = drafted(table(tmp_path / "t.parquet", children=[1.0, 2.0, None] * 20, rate=rate))
    assert (kinds(plan)["children"], kinds(plan)["rate"]) == ("categorical", "numeric")


def test_naming_categories_replaces_the_guess(tmp_path: Path) -> None:
    plan, _ = drafted(table(tmp_path / "t.parquet"), categorical="age")
    assert kinds(plan) == {"amount": "numeric", "grade": "numeric", "age": "categorical", "region": "categorical"}


def test_label_dropped_columns_and_the_institution_are_no_features(tmp_path: Path) -> None:
    plan, _ = drafted(table(tmp_path / "t.parquet"), drop="age, amount", by="region")
    assert kinds(plan) == {"grade": "categorical"}


def test_identifiers_dates_and_empty_columns_are_left_out_with_a_reason(tmp_path: Path) -> None:
    days = pa.array([None, *range(ROWS - 1)], pa.int32()).cast(pa.date32())
    columns = {
        "customer": [f"c{i:04}" for i in range(ROWS)], "opened": [f"{1 + i % 2}/28/199{i % 10}" for i in range(ROWS)],
        "day": days, "empty": pa.nulls(ROWS),
    }  # fmt: skip
    plan, text = drafted(table(tmp_path / "t.parquet", **columns))
    assert set(kinds(plan)) == {"amount", "grade", "age", "region"}
    assert [line for line in text.splitlines() if line.startswith("# left out")] == [
        "# left out: \"customer\" (60 distinct texts in 60 rows: an identifier?)",
        '# left out: "opened" (dates)',
        '# left out: "day" (of type date32[day])',
        '# left out: "empty" (every value is missing)',
    ]


def test_a_csv_table_drafts_the_same_plan_as_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    body = [f"{i * 1.5};{i % 10};0{i % 7};{'' if i % 5 else 'NA'};\"a\nb\";{i % 3 // 2}" for i in range(ROWS)]
    path.write_text("\n".join(["amount;grade;zip;empty;region;default", *body]), encoding="utf-8-sig")
    plan, text = drafted(path)
    assert kinds(plan) == {"amount": "numeric", "grade": "categorical", "zip": "categorical", "region": "categorical"}
    assert '# left out: "empty" (every value is missing)' in text


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [
        ([0, 1, 0], None, 1), ([1.0, 0.0, 0.0], None, 1), (["P I F", "P I F", "CHGOFF"], None, "CHGOFF"),
        ([1, 2, 2], None, 1), ([1, 2, 2], "2.0", 2), ([True, False, False], None, 1), (["07", "x", "x"], None, "07"),
        (["no", None, "yes"], "yes", "yes"),
    ],
)  # fmt: skip
def test_the_positive_value_is_one_or_the_rarer_or_the_one_that_is_named(
    tmp_path: Path, values: list[Any], positive: str | None, expected: Any
) -> None:
    path = table(tmp_path / "t.parquet", default=values * (ROWS // len(values)))
    plan, _ = drafted(path, positive=positive)
    assert plan.label.positive == expected
    assert check_table(plan, path).fits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "bad"}, "got bad"), ({"drop": "x,age"}, "got x"), ({"categorical": "y"}, "got y"), ({"by": "z"}, "got z"),
        ({"positive": "7"}, "one of 0, 1, got 7"), ({"label": "constant"}, "a label with two values"),
        ({"drop": "amount,grade,age,region,constant"}, "a column that can be a feature"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_table_is_named(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = table(tmp_path / "t.parquet", constant=[1] * ROWS)
    with pytest.raises(DataUnfit, match=message):
        drafted(path, **changes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"), (b"a,b,a\n1,2,3\n", "names a more than once"), (b"a,b\n", "no rows"),
        (b"a,b\n1\n", "do not have the header's 2 values"), (b"a,b\n\xff\xfe,2\n", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataUnfit, match=message):
        drafted(path)


def test_a_draft_for_fewer_than_three_banks_says_why(tmp_path: Path) -> None:
    plan, _ = drafted(table(tmp_path / "t.parquet"), participants="north,south")
    assert (plan.privacy.min_banks, plan.privacy.min_banks_reason) == (2, "drafted for 2 institutions")


letters = st.characters(codec="utf-8")
awkward = st.sampled_from(["yes", "null", "1e-5", "# x", "- a", "a: b", "😀", "a\nb", "\x7f", "\u2028"])
positives = st.one_of(st.integers(2, 2**40), st.floats(1e-300, 1e15), awkward)


@settings(deadline=None)
@given(st.lists(st.text(letters, max_size=20) | awkward, min_size=1, max_size=6, unique=True), positives, st.floats(1e-12, 1.0))
def test_the_text_of_a_plan_reads_back_as_the_plan(columns: list[str], positive: Any, rate: float) -> None:
    features = [{"name": f"f {name}", "kind": "numeric"} for name in columns]
    plan = plan_of(features=features, label={"name": "no", "positive": positive}, training__learning_rate=rate)
    text = plan_text(plan, left_out=dict.fromkeys(columns, "why"))
    assert parse_plan(yaml.safe_load(text)) == plan


def test_the_best_plan_that_a_draft_names_is_one_that_can_be_run(tmp_path):
    plan, text = drafted(table(tmp_path / "t.parquet"))
    named = dict(re.findall(r"([a-z]+\.[a-z]+): (\w+)", " ".join(line for line in text.splitlines() if line.startswith("# "))))
    assert set(named) == {"preprocessing.numeric", "strategy.name", "training.decay", "schedule.rounds"}
    document = plan.model_dump(mode="json")
    for dotted, value in named.items():
        part, field = dotted.split(".")
        document[part][field] = int(value) if value.isdecimal() else value
    assert not conflicts(parse_plan(document))
