"""A plan as a person fills it in: its values so far, and the problems and notes beside their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from django.utils.translation import gettext as _
from pydantic import ValidationError

from clientagent.wire import capabilities
from clientagent.wire.combinations import Conflict, conflicts, idle
from clientagent.wire.plan import Plan, plan_problems
from institutions.saying import said
from rounds.forms.schema import MATTERS, all_fields, all_switches
from rounds.models import Project

Json = dict[str, Any]


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
        form.problems = {field: said(text) for field, text in plan_problems(error)}
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
