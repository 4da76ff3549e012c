"""``draft_plan`` writes a plan that a person can read, edit and freeze."""

from __future__ import annotations

import yaml

from clientagent.wire.plan import parse_plan
from tests.road.commands import manage, write_table


def test_the_draft_is_a_valid_plan_of_the_table(tmp_path):
    table = write_table(tmp_path / "retail applications.csv", rows=300)
    done = manage("draft_plan", "--data", str(table), "--label", "bad", "--positive", "CHGOFF", "--drop", "bank")
    assert done.returncode == 0, done.stderr
    document = yaml.safe_load(done.stdout)
    document.setdefault("participants", ["north", "south", "east"])
    plan = parse_plan(document)
    assert {feature.name: feature.kind for feature in plan.features} == {
        "income": "numeric", "debt": "numeric", "region": "categorical",
    }  # fmt: skip
    assert (plan.project, plan.label.name, plan.label.positive) == ("retail-applications", "bad", "CHGOFF")


def test_categorical_columns_can_be_named(tmp_path):
    table = write_table(tmp_path / "t.csv", rows=300)
    argv = ["--data", str(table), "--label", "bad", "--positive", "CHGOFF", "--drop", "bank", "--categorical", "region,debt"]
    kinds = {feature["name"]: feature["kind"] for feature in yaml.safe_load(manage("draft_plan", *argv).stdout)["features"]}
    assert kinds == {"income": "numeric", "debt": "categorical", "region": "categorical"}


def test_a_table_that_cannot_be_read_is_named_without_a_stack_trace(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    for name in ("missing.csv", "empty.csv"):
        done = manage("draft_plan", "--data", str(tmp_path / name), "--label", "bad")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert name in done.stderr
