"""One field as the template draws it: its text, its choices, its problem and its note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from clientagent.wire.strategies import DEFAULTS
from rounds.forms.plan import PlanForm
from rounds.forms.schema import CHOOSE_WHEN, OFFERED, FieldSpec


@dataclass(frozen=True)
class Option:
    """One line of a menu. ``runs``: whether this version can do it. ``when``: the sentence that says when to choose it."""

    value: str
    chosen: bool
    runs: bool
    when: str


@dataclass(frozen=True)
class Shown:
    """One field as the template draws it. ``stands_for``: the number that is used where the field is left empty."""

    spec: FieldSpec
    text: str
    chosen: list[str]
    problem: str
    offered: tuple[str, ...]
    hidden: bool
    note: str = ""
    stands_for: str = ""

    @property
    def options(self) -> list[Option]:
        known = self.spec.choices if self.text in self.spec.choices or not self.text else (*self.spec.choices, self.text)
        sentences = CHOOSE_WHEN.get(self.spec.path, {})
        return [
            Option(choice, choice == self.text, not self.offered or choice in self.offered, sentences.get(choice, ""))
            for choice in known
        ]


def shown(form: PlanForm, spec: FieldSpec) -> Shown:
    value = form.value(spec.path)
    if value is None and spec.default is not None:
        value = spec.default
    problem = form.problems.get(spec.path, "")
    if spec.path in form.unsupported:
        offered = form.unsupported[spec.path]
        runs = _("This version runs: %(offered)s.") % {"offered": offered}
        problem = runs if offered != "null" else _("Not in this version yet.")
    chosen = [str(item) for item in value] if isinstance(value, list) else []
    return Shown(
        spec, (_tensor_lines if spec.kind == "tensors" else _as_text)(value), chosen, problem, OFFERED.get(spec.path, ()),
        not form.matters(spec.path),
        form.notes.get(spec.path, ""), _stands_for(form, spec),
    )


def _stands_for(form: PlanForm, spec: FieldSpec) -> str:
    numbers = DEFAULTS.get(str(form.value("strategy.name")), {}) if spec.path.startswith("strategy.") else {}
    return _as_text(numbers.get(spec.name))


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_as_text(ends)}" for name, ends in value.items())
    if isinstance(value, list):
        return ", ".join(_as_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _tensor_lines(tensors: Any) -> str:
    return "\n".join(map(_tensor_line, tensors)) if isinstance(tensors, list) else _as_text(tensors)


def _tensor_line(tensor: Any) -> str:
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("shape"), list):
        return _as_text(tensor) if not isinstance(tensor, Mapping) else str(tensor.get("name", ""))
    return f"{tensor.get('name', '')}: {' x '.join(map(str, tensor['shape']))}, {tensor.get('start', 'uniform')}"
