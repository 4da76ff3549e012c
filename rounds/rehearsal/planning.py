"""Which plan a rehearsal runs: drafted or read, then changed by the command line, then frozen like any other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import Plan, as_text, parse_plan
from rounds.rehearsal import tools

Document = dict[str, Any]


def read_yaml(text: str, *, source: str) -> Document:
    """A plan's document. Raises ``PlanInvalid``."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanInvalid(expected=f"YAML in {source}", got=" ".join(str(error).split())[:300]) from error
    if not isinstance(document, dict):
        raise PlanInvalid(expected=f"fields of a plan in {source}", got=type(document).__name__)
    return document


def read_plan_file(path: Path) -> Document:
    try:
        return read_yaml(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanInvalid(expected="a plan as YAML", got=f"{path}: {error}", action="Name a readable file.") from error


def adapt(document: Document, *, label: str, positive: str | None, by: str | None, participants: list[str]) -> Document:
    """Fit a plan from a file to the split: its banks, its label; the column that splits is never a feature."""
    changed = {**document, "participants": participants}
    stated = document.get("label")
    before = stated if isinstance(stated, dict) and stated.get("name") == label else {}
    changed["label"] = {**before, "name": label} | ({} if positive is None else {"positive": positive})
    if by is not None and isinstance(document.get("features"), list):
        changed["features"] = [f for f in document["features"] if not (isinstance(f, dict) and f.get("name") == by)]
    return changed


def positive_of(document: Document) -> str | None:
    """The positive value that a plan from a file states, as text."""
    label = document.get("label")
    return as_text(label["positive"]) if isinstance(label, dict) and "positive" in label else None


def with_settings(document: Document, settings: Iterable[str]) -> Document:
    """``FIELD=VALUE`` each: a dotted field and a YAML value. A null object on the way is created with its defaults."""
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals or not all(field.split(".")):
            raise PlanInvalid(expected="--set FIELD=VALUE, as in --set schedule.rounds=5", got=setting, action="Correct --set.")
        value = read_value(text, field)
        document = _replaced(document, field.split("."), value, field)
    return document


def read_value(text: str, field: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanInvalid(expected=f"a YAML value for {field}", got=text[:200], action="Correct --set.") from error


def _replaced(node: Any, path: list[str], value: Any, field: str) -> Any:
    """A copy of ``node`` in which what ``path`` leads to is ``value``."""
    if not path:
        return value
    head, *rest = path
    if isinstance(node, list):
        if not head.isdecimal() or int(head) >= len(node):
            raise PlanInvalid(expected=f"a place below {len(node)}", got=field, action="Correct --set.")
        place = int(head)
        return [*node[:place], _replaced(node[place], rest, value, field), *node[place + 1 :]]
    if not isinstance(node, dict | None):
        raise PlanInvalid(expected="a field of the plan", got=field, action="Correct --set.")
    fields = node or {}
    return {**fields, head: _replaced(fields.get(head), rest, value, field)}


def finished(document: Document, *, seed: int | None, settings: Iterable[str]) -> Plan:
    """The plan of a rehearsal. ``--seed`` sets ``training.seed``, ``--set`` beats everything. Raises ``PlanInvalid``."""
    settings = list(settings)
    if seed is not None:
        document = _replaced(document, ["training", "seed"], seed, "training.seed")
    return parse_plan(_without_choosing(with_settings(document, settings), settings))


def _without_choosing(document: Document, settings: list[str]) -> Document:
    """Where the command line turns record_dp on, the last version is the result, as that needs; unless it says otherwise."""
    turned_on = any(setting.startswith("privacy.record_dp") for setting in settings)
    if not turned_on or not (document.get("privacy") or {}).get("record_dp"):
        return document
    for field, value in (("schedule.select", "last"), ("schedule.patience", 0)):
        if not any(setting.startswith(field) for setting in settings):
            document = _replaced(document, field.split("."), value, field)
    return document


def with_knowledge(plan: Plan, *, data: str, folder: Path) -> Plan:
    """A drafted plan with the bounds and categories that noise needs, read off the table in place of a data dictionary."""
    (folder / "plan.json").write_text(plan.canonical_text)
    return parse_plan(tools.run_json("knowledge", "--plan", str(folder / "plan.json"), "--data", data))


def as_yaml(plan: Plan) -> str:
    """The whole plan, defaults and all, for a person to read and edit."""
    return yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)

