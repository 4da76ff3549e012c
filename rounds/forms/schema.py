"""The plan's form, read off the plan's schema: for each field its kind, bounds, choices, default and sentence.

Nothing about a field is said twice: bounds and help come from ``clientagent.wire.plan``; here stand only the sections' titles
and when a field matters.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext_lazy as _

from clientagent.wire import capabilities
from clientagent.wire.plan import FAMILIES, STRATEGIES, Plan
from clientagent.wire.strategies import DEFAULTS, NUMBERS, OPEN, ROBUST
from rounds.algorithms.registry import STRATEGIES as MENU

Json = dict[str, Any]


@dataclass(frozen=True)
class FieldSpec:
    """One value of a plan.

    ``kind``: choice, integer, number, either (a word or a number), text, numbers, banks, value, ranges or tensors (a line each).
    """

    path: str
    kind: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    word: str = ""
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        return self.path.rsplit(".", 1)[-1]

    @property
    def bounds(self) -> str:
        """The range as people write it, where it has both ends or a meaningful one."""
        if self.minimum is None or self.maximum is None:
            return ""
        return f"({self.minimum:g} – {self.maximum:,.10g})" if self.maximum < 1e9 else f"(≥ {self.minimum:g})"

    @property
    def label(self) -> str:
        return LABELS.get(self.path) or LABELS.get(self.name) or self.name.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Section:
    """``switches`` are objects that a plan has or has not, such as differential privacy, with their own fields."""

    name: str
    title: Any
    about: Any
    fields: list[FieldSpec] = field(default_factory=list)
    switches: list[Section] = field(default_factory=list)


TITLES = {
    "basics": (_("Purpose and label"), _("What the model is for, and what it predicts.")),
    "preprocessing": (_("Preprocessing"), _("Agreed from pooled statistics before round 1, the same for all banks.")),
    "model": (_("Model"), _("What is trained.")),
    "training": (_("Training at the bank"), _("What each bank does with its own rows in a round.")),
    "strategy": (_("Aggregation"), _("How updates become the next version.")),
    "schedule": (_("Schedule"), _("How many rounds, who must be there, how long to wait.")),
    "privacy": (_("Privacy"), _("What protects customers and banks.")),
    "compression": (_("Compression"), _("How updates travel.")),
    "evaluation": (_("Evaluation"), _("Which rows choose the result and which report on it.")),
    "retention": (_("Retention"), _("How long updates are kept.")),
    "record_dp": (_("Differential privacy for each customer"), ""),
    "institution_dp": (_("Differential privacy for each bank"), ""),
    "secure_aggregation": (_("Secure aggregation"), ""),
}
LABELS: dict[str, Any] = {
    "purpose": _("Purpose"),
    "label.name": _("Label column"),
    "label.positive": _("Positive value"),
    "participants": _("Participants"),
    "preprocessing.numeric": _("Numbers"),
    "preprocessing.categorical": _("Categories"),
    "preprocessing.bins": _("Most bins"),
    "base_score": _("Base score"),
    "base_odds": _("Base odds"),
    "points_to_double": _("Points that double the odds"),
    "family": _("Family"),
    "hidden": _("Hidden layers"),
    "tensors": _("Tensors"),
    "dropout": _("Dropout"),
    "epochs": _("Epochs"),
    "batch_size": _("Batch size"),
    "optimiser": _("Optimiser"),
    "learning_rate": _("Learning rate"),
    "decay": _("Decay"),
    "weight_decay": _("Weight decay"),
    "class_weight": _("Class weight"),
    "seed": _("Seed"),
    "strategy.name": _("Strategy"),
    "weighting": _("Weighting"),
    "max_weight": _("Largest weight"),
    "mu": _("Proximal term mu"),
    "server_learning_rate": _("Server learning rate"),
    "momentum": _("Momentum"),
    "byzantine": _("Hostile banks assumed"),
    "trim": _("Trim"),
    "q": _("Fairness exponent q"),
    "ridge": _("Ridge"),
    "bound": _("Norm bound"),
    "mixing": _("Mixing"),
    "mode": _("Mode"),
    "rounds": _("Rounds"),
    "quorum": _("Quorum"),
    "required": _("Required banks"),
    "min_wait_s": _("Open at least, seconds"),
    "deadline_s": _("Deadline of a round, seconds"),
    "stage_timeout_s": _("Patience for a stage, seconds"),
    "late": _("Late updates"),
    "select": _("Result"),
    "patience": _("Patience, rounds"),
    "buffer": _("Buffer, updates"),
    "max_staleness": _("Largest staleness"),
    "staleness_power": _("Staleness power"),
    "max_updates_per_bank": _("Most updates per bank"),
    "epsilon": _("Epsilon"),
    "delta": _("Delta"),
    "clip": _("Clip"),
    "sampling": _("Sampling rate"),
    "statistics": _("Share for statistics"),
    "bounds": _("Bounds of numbers"),
    "threshold": _("Threshold"),
    "min_cohort": _("Smallest cohort"),
    "min_banks": _("Fewest banks behind a total"),
    "min_banks_reason": _("Why fewer than 3"),
    "min_cell": _("Fewest customers in a cell"),
    "codec": _("Codec"),
    "share": _("Share"),
    "bins": _("Score bins"),
    "validation": _("Validation share"),
    "holdout": _("Hold-out share"),
    "every": _("Evaluate every"),
    "segment": _("Segment column"),
    "alert_budget": _("Alert budget"),
    "updates_days": _("Days that updates are kept"),
}


def _users_of(number: str) -> tuple[str, ...]:
    """The strategies to which one of the plan's numbers means something."""
    return tuple(name for name in STRATEGIES if number in (*DEFAULTS.get(name, ()), *OPEN.get(name, ())))


_ROBUST = tuple(sorted(ROBUST))
Condition = tuple[str, tuple[str, ...]]
_MATTERS: dict[str, Condition] = {
    "model.tensors": ("model.family", ("*@*",)),
    "model.hidden": ("model.family", ("mlp",)),
    "model.dropout": ("model.family", ("mlp",)),
    "model.base_score": ("model.family", ("scorecard",)),
    "model.base_odds": ("model.family", ("scorecard",)),
    "model.points_to_double": ("model.family", ("scorecard",)),
    **{f"strategy.{number}": ("strategy.name", _users_of(number)) for number in NUMBERS},
    "strategy.byzantine": ("strategy.name", _ROBUST),
    "strategy.mixing": ("strategy.name", _ROBUST),
    "compression.share": ("compression.codec", ("topk",)),
    "schedule.quorum": ("schedule.mode", ("sync",)),
    "schedule.required": ("schedule.mode", ("sync",)),
    "schedule.min_wait_s": ("schedule.mode", ("sync",)),
    "schedule.late": ("schedule.mode", ("sync",)),
    "schedule.buffer": ("schedule.mode", ("async",)),
    "schedule.max_staleness": ("schedule.mode", ("async",)),
    "schedule.staleness_power": ("schedule.mode", ("async",)),
    "schedule.max_updates_per_bank": ("schedule.mode", ("async",)),
    "privacy.min_banks_reason": ("privacy.min_banks", ("1", "2")),
}
MATTERS: dict[str, tuple[Condition, ...]] = {
    **{path: (condition,) for path, condition in _MATTERS.items()},
    "preprocessing.bins": (("preprocessing.numeric", ("quantile", "bins", "piecewise", "woe")), ("model.family", ("scorecard",))),
}
"""A field that matters only while one of these others has such a value; it keeps its value while it is not shown."""
OFFERED: dict[str, tuple[str, ...]] = {
    "strategy.name": capabilities.STRATEGIES,
    "preprocessing.numeric": capabilities.NUMERIC,
}
"""Choices that this version can run, where the schema has more of them."""
CHOOSE_WHEN: dict[str, dict[str, str]] = {
    "strategy.name": {name: entry.choose_when for name, entry in MENU.items()},
}
"""For each choice of a menu the sentence that says when to choose it; translated where it is shown."""


@functools.cache
def sections() -> list[Section]:
    """All fields but the features and participants, which have tables of their own."""
    schema = Plan.model_json_schema()
    found = [Section("basics", *TITLES["basics"], fields=list(_basics(schema)))]
    for name, part in schema["properties"].items():
        reference = part.get("$ref") or next((item["$ref"] for item in part.get("allOf", [])), "")
        if reference and name in TITLES:
            found.append(_section(name, name, _definition(schema, reference), schema))
    return found


def all_fields() -> Iterator[FieldSpec]:
    for section in sections():
        yield from section.fields
        for switch in section.switches:
            yield from switch.fields


def all_switches() -> Iterator[tuple[str, Section]]:
    """(path, section) of each object that a plan may have."""
    for section in sections():
        for switch in section.switches:
            yield f"{section.name}.{switch.name}", switch


def _basics(schema: Json) -> Iterator[FieldSpec]:
    yield _field("purpose", schema["properties"]["purpose"])
    label = _definition(schema, "#/$defs/Label")
    for name, part in label["properties"].items():
        yield _field(f"label.{name}", part)


def _section(name: str, path: str, definition: Json, schema: Json) -> Section:
    section = Section(name, *TITLES[name])
    for key, part in definition["properties"].items():
        reference = next((item["$ref"] for item in part.get("anyOf", []) if "$ref" in item), "")
        if reference:
            title, _about = TITLES[key]
            inner = _section(key, f"{path}.{key}", _definition(schema, reference), schema)
            section.switches.append(Section(key, title, part.get("description", ""), inner.fields))
        else:
            section.fields.append(_field(f"{path}.{key}", part))
    return section


def _definition(schema: Json, reference: str) -> Json:
    found: Json = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return found


def _field(path: str, part: Json) -> FieldSpec:
    branches = part.get("anyOf", [part])
    numbers: Json = next((b for b in branches if b.get("type") in ("number", "integer")), {})
    word = next((str(b["const"]) for b in branches if "const" in b), "")
    optional = any(b.get("type") == "null" for b in branches)
    default = part.get("default", _made_default(path))
    choices = tuple(part.get("enum", ())) or ((part["const"],) if "const" in part else ())
    if path == "model.family":
        choices = FAMILIES
    return FieldSpec(
        path,
        _kind(path, part, numbers, word, choices),
        part.get("description", ""),
        default,
        choices,
        word,
        numbers.get("minimum", numbers.get("exclusiveMinimum")),
        numbers.get("maximum", numbers.get("exclusiveMaximum")),
        optional,
    )


def _made_default(path: str) -> Any:
    """The default of a list, which a JSON schema does not tell."""
    parent, _dot, name = path.partition(".")
    part = Plan.model_fields[parent].get_default(call_default_factory=True) if name else None
    return getattr(part, name, None)


def _kind(path: str, part: Json, numbers: Json, word: str, choices: tuple[str, ...]) -> str:
    if path == "label.positive":
        return "value"
    if choices:
        return "choice"
    if part.get("type") == "array":
        return {"schedule.required": "banks", "model.tensors": "tensors"}.get(path, "numbers")
    if part.get("type") == "object":
        return "ranges"
    if word:
        return "either"
    return str(numbers.get("type", "text"))
