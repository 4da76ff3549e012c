"""From what a person typed, as YAML or into the form's fields, to a plan: its values, and the problems beside their fields."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml
from django.http import QueryDict
from django.utils.translation import gettext as _
from pydantic import ValidationError

from clientagent.wire import capabilities
from clientagent.wire.combinations import Conflict, conflicts, idle
from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import Plan, plan_problems
from clientagent.wire.strategies import DEFAULTS
from rounds.forms.schema import CHOOSE_WHEN, MATTERS, OFFERED, FieldSpec, all_fields, all_switches
from rounds.models import Project

Json = dict[str, Any]
MOST_YAML_BYTES = 400_000
MOST_FEATURES = 2000


@dataclass
class PlanForm:
    """``document`` is what was typed, as far as it could be read; ``plan`` is there when nothing is wrong with it.

    ``notes``: what the plan says in vain, by field; no reason to refuse it.
    """

    document: Json
    plan: Plan | None = None
    problems: dict[str, str] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def is_frozen_ready(self) -> bool:
        return self.plan is not None and not self.unsupported

    @property
    def problem_count(self) -> int:
        return len(self.problems) + len(self.unsupported)

    @property
    def stray(self) -> list[tuple[str, str]]:
        """Problems that no field of the form stands for, such as a name that no plan has."""
        known = {spec.path for spec in all_fields()} | {path for path, _section in all_switches()} | {"features", "participants"}
        return [(path, text) for path, text in self.problems.items() if path not in known and not path.startswith("features.")]

    def value(self, path: str) -> Any:
        """What stands in the document at this path; None where nothing does."""
        place: Any = self.document
        for part in path.split("."):
            place = place.get(part) if isinstance(place, Mapping) else None
        return place

    def matters(self, path: str) -> bool:
        if path not in MATTERS or path in self.problems or path in self.notes:
            return True
        return any(fnmatchcase(self._stands(other), value) for other, values in MATTERS[path] for value in values)

    def _stands(self, path: str) -> str:
        """What the form shows in a field: its value, or its default."""
        spec = next(spec for spec in all_fields() if spec.path == path)
        value = self.value(path)
        return str(spec.default if value is None else value)


def form_of(document: Json, project: Project) -> PlanForm:
    """Check a document and say everything that is wrong with it at once."""
    form = PlanForm(document)
    try:
        form.plan = Plan.model_validate(document)
    except ValidationError as error:
        form.problems = dict(plan_problems(error))
        return form
    except RecursionError:
        form.problems = {"": _("The document is nested too deeply.")}
        return form
    form.problems = {**_by_field(conflicts(form.plan)), **dict(_misfits(form.plan, project))}
    form.unsupported = dict(capabilities.unsupported(form.plan))
    form.notes = _by_field(idle(form.plan))
    if form.problems:
        form.plan = None
    return form


def _by_field(found: list[Conflict]) -> dict[str, str]:
    """The sentences of each field, in the reader's language."""
    sentences: dict[str, str] = {}
    for conflict in found:
        sentence = _(conflict.reason) % conflict.values
        sentences[conflict.field] = f"{sentences[conflict.field]} {sentence}" if conflict.field in sentences else sentence
    return sentences


def _misfits(plan: Plan, project: Project) -> Iterator[tuple[str, str]]:
    """What a valid plan has that does not fit its project."""
    if plan.project != project.slug:
        yield "project", _("This page makes plans of %(slug)s.") % {"slug": project.slug}
    if plan.purpose != project.purpose:
        yield "purpose", _("The project's purpose is %(purpose)s.") % {"purpose": project.purpose}
    strangers = set(plan.participants) - set(project.participants.values_list("slug", flat=True))
    if strangers:
        yield "participants", _("Not in this project: %(names)s.") % {"names": ", ".join(sorted(strangers))}


def blank_document(project: Project) -> Json:
    """The defaults, for this project and all its banks."""
    banks = sorted(project.participants.values_list("slug", flat=True))
    return {
        "project": project.slug,
        "purpose": project.purpose,
        "features": [],
        "label": {"name": "", "positive": 1},
        "participants": banks,
    }


def adopted(document: Json, project: Project) -> tuple[Json, bool]:
    """A draft made for no project in particular, as this project's: its name, its purpose, and its banks where it names no others."""
    known = set(project.participants.values_list("slug", flat=True))
    named = document.get("participants")
    kept = [slug for slug in named if slug in known] if isinstance(named, list) else []
    own = {"project": project.slug, "participants": kept or sorted(known)}
    changed = any(document.get(name) not in (None, value) for name, value in own.items())
    return document | own, changed


# ------------------------------------------------------------------ from YAML
class _NoAliases(yaml.SafeLoader):
    """Plain data only: an alias could make a short text a huge document."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not part of a plan")
        return super().compose_node(parent, index)


def document_from_yaml(text: str) -> Json:
    """Raises ``PlanInvalid`` for anything but one mapping."""
    if len(text.encode()) > MOST_YAML_BYTES:
        raise PlanInvalid(
            expected=f"at most {MOST_YAML_BYTES} bytes of YAML", got=f"{len(text.encode())}", action=_("Paste only the plan.")
        )
    try:
        document = yaml.load(text, Loader=_NoAliases)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = _("line %(n)d") % {"n": mark.line + 1} if mark else _("the text")
        raise PlanInvalid(
            expected="YAML",
            got=getattr(error, "problem", "") or str(error)[:200],
            action=_("Correct %(where)s.") % {"where": where},
        ) from error
    if not isinstance(document, dict):
        raise PlanInvalid(
            expected=_("fields such as 'project: …'"),
            got=type(document).__name__,
            action=_("Paste a plan as draft_plan writes it."),
        )
    return {str(key): value for key, value in document.items()}


def yaml_of(plan: Plan) -> str:
    """The plan for reading: features one a line, what was left out left out, but every protection named."""
    document = plan.model_dump(mode="json")
    features = [{key: value for key, value in feature.items() if value is not None} for feature in document.pop("features")]
    for name, part in document.items():
        if isinstance(part, dict) and name != "privacy":
            document[name] = {key: value for key, value in part.items() if value is not None}
    head = {"project": document.pop("project"), "purpose": document.pop("purpose"), "label": document.pop("label")}
    lines = "".join(f"- {_flow(feature)}\n" for feature in features)
    return f"{_block(head)}features:\n{lines}{_block(document)}"


class _Readable(yaml.SafeDumper):
    """Objects in lines of their own, lists of values in one."""


_Readable.add_representer(list, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True))


def _flow(value: Json) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=True, width=10_000).strip()


def _block(value: Json) -> str:
    return yaml.dump(value, Dumper=_Readable, sort_keys=False, allow_unicode=True, default_flow_style=False, width=10_000)


# ------------------------------------------------------------------ from the form's fields
def document_from_post(post: QueryDict, project: Project) -> Json:
    """The document that the form's fields say. What cannot be read as a number stays text, so that its problem names it."""
    document: Json = {"project": project.slug, "participants": post.getlist("participants"), "features": list(_features(post))}
    switches = {path for path, _section in all_switches()}
    off = {path for path in switches if not post.get(f"on:{path}")}
    for path in sorted(switches):
        _put(document, path, None if path in off else {})
    for spec in all_fields():
        parent = spec.path.rpartition(".")[0]
        if parent in off:
            continue
        value = _read(spec, post)
        if value is not _ABSENT:
            _put(document, spec.path, value)
    return document


_ABSENT = object()


def _read(spec: FieldSpec, post: QueryDict) -> Any:
    if spec.kind == "banks":
        return post.getlist(spec.path)
    text = post.get(spec.path, "").strip()
    if spec.kind == "ranges":
        return _ranges(text)
    if spec.kind == "tensors":
        return list(_tensors(text))
    if not text:
        return _ABSENT if spec.path != "label.name" and spec.kind != "numbers" else ("" if spec.kind != "numbers" else [])
    if spec.kind in ("integer", "number", "either"):
        return number_or_text(text)
    if spec.kind == "value":
        return number_or_text(text)
    if spec.kind == "numbers":
        return [number_or_text(part.strip()) for part in text.replace("[", "").replace("]", "").split(",") if part.strip()]
    return text


def _ranges(text: str) -> Json:
    """Lines such as ``income: 0, 100``. A line that says anything else keeps its text, so that its problem names it."""
    ranges: Json = {}
    for line in filter(str.strip, text.splitlines()):
        name, _colon, pair = line.rpartition(":")
        ranges[name.strip() or line.strip()] = [number_or_text(end.strip()) for end in pair.split(",")]
    return ranges


def _tensors(text: str) -> Iterator[Json]:
    """Lines such as ``wide.weight: 1 x inputs, uniform``. A line that says anything else keeps its text, for its problem to name."""
    for line in filter(str.strip, text.splitlines()):
        name, _colon, rest = line.partition(":")
        shape, _comma, start = rest.partition(",")
        tensor: Json = {"name": name.strip(), "shape": [number_or_text(width.strip()) for width in shape.split("x") if width.strip()]}
        yield {**tensor, "start": start.strip()} if start.strip() else tensor


def _tensor_lines(tensors: Any) -> str:
    return "\n".join(map(_tensor_line, tensors)) if isinstance(tensors, list) else _as_text(tensors)


def _tensor_line(tensor: Any) -> str:
    if not isinstance(tensor, Mapping) or not isinstance(tensor.get("shape"), list):
        return _as_text(tensor) if not isinstance(tensor, Mapping) else str(tensor.get("name", ""))
    return f"{tensor.get('name', '')}: {' x '.join(map(str, tensor['shape']))}, {tensor.get('start', 'uniform')}"


def number_or_text(text: str) -> int | float | str:
    """A number where the text is one, in the notation of YAML and of forms."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _features(post: QueryDict) -> Iterator[Json]:
    names, kinds, categories = post.getlist("feature-name"), post.getlist("feature-kind"), post.getlist("feature-categories")
    for name, kind, listed in list(zip(names, kinds, categories, strict=False))[:MOST_FEATURES]:
        if not name.strip():
            continue
        feature: Json = {"name": name.strip(), "kind": kind}
        if listed.strip():
            feature["categories"] = [number_or_text(part.strip()) for part in listed.split(",") if part.strip()]
        yield feature


def _put(document: Json, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for part in parents:
        document = document.setdefault(part, {})
    document[name] = value


# ------------------------------------------------------------------ for the template
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
