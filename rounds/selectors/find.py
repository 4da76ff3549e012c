"""What the search box finds: by name, by number, or by the beginning of a hash or id."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from institutions.permissions import Person
from institutions.selectors import visible_institutions
from rounds.models import ModelVersion
from rounds.selectors.scope import Audience, visible_plans, visible_projects, visible_runs

MOST = 10


@dataclass(frozen=True)
class Hit:
    title: str
    text: str
    url: str


@dataclass(frozen=True)
class Group:
    title: str
    icon: str
    hits: list[Hit]


def find(q: str, user: Person, audience: Audience) -> list[Group]:
    """Groups that found something, at most ten hits each."""
    number = re.fullmatch(r"(?:run|r|v|version)?\s*#?(\d{1,9})", q.strip().lower())
    n = int(number.group(1)) if number else None
    groups = [
        Group(_("Institutions"), "building-bank", _institutions(q, user)),
        Group(_("Projects"), "folder", _projects(q, audience)),
        Group(_("Runs"), "activity", _runs(q, n, audience)),
        Group(_("Plans"), "file-certificate", _plans(q, audience)),
        Group(_("Model versions"), "versions", _versions(q, n, audience)),
    ]
    return [group for group in groups if group.hits]


def _institutions(q: str, user: Person) -> list[Hit]:
    rows = visible_institutions(user).filter(Q(name__icontains=q) | Q(slug__icontains=q))[:MOST]
    return [Hit(row.name, row.slug, reverse("institutions:detail", args=[row.slug])) for row in rows]


def _projects(q: str, audience: Audience) -> list[Hit]:
    rows = visible_projects(audience).filter(Q(name__icontains=q) | Q(slug__icontains=q))[:MOST]
    return [Hit(row.name, row.slug, reverse("rounds:project", args=[row.slug])) for row in rows]


def _runs(q: str, n: int | None, audience: Audience) -> list[Hit]:
    wanted = Q(plan__project__name__icontains=q) | Q(plan__project__slug__icontains=q) | Q(plan__title__icontains=q)
    wanted |= (
        Q(number=n)
        if n is not None
        else Q(pk__istartswith=q.replace("-", ""))
        if re.fullmatch(r"[0-9a-f-]{4,36}", q.lower())
        else Q()
    )
    rows = visible_runs(audience).filter(wanted).order_by("-created_at")[:MOST]
    return [Hit(str(row), row.plan.title or row.plan.hash[:12], reverse("rounds:run", args=[row.pk])) for row in rows]


def _plans(q: str, audience: Audience) -> list[Hit]:
    rows = visible_plans(audience).filter(Q(title__icontains=q) | Q(hash__istartswith=q))[:MOST]
    return [Hit(row.title or row.hash[:12], row.project.name, reverse("rounds:plan", args=[row.hash])) for row in rows]


def _versions(q: str, n: int | None, audience: Audience) -> list[Hit]:
    wanted = Q(number=n) if n is not None else Q(digest__istartswith=q.lower())
    rows = ModelVersion.objects.filter(wanted, run__in=visible_runs(audience).values("pk")).select_related("run__plan__project")[
        :MOST
    ]
    return [
        Hit(f"v{row.number}", f"{row.run} · {row.digest[:12]}", reverse("rounds:version", args=[row.run_id, row.number]))
        for row in rows
    ]
