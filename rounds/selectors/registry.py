"""A project's versions with their status, and who was champion when."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from rounds.lifecycle import Status
from rounds.models import ModelVersion, Project, Registration, Reign
from rounds.selectors.scope import Audience, visible_runs


def registered(project: Project, audience: Audience) -> QuerySet[Registration]:
    """Registered versions of the project's runs that this audience may see."""
    rows = Registration.objects.filter(project=project, version__run__in=visible_runs(audience).values("pk"))
    return rows.select_related("version__run__plan__project")


def reigns_of(project: Project, audience: Audience) -> QuerySet[Reign]:
    rows = Reign.objects.filter(project=project, version__run__in=visible_runs(audience).values("pk"))
    return rows.select_related("version__run__plan__project", "by")


def champion_of(project: Project) -> ModelVersion | None:
    row = Registration.objects.filter(project=project, status=Status.CHAMPION).select_related("version__run__plan__project").first()
    return row.version if row else None


def earlier_champion(project: Project) -> ModelVersion | None:
    """Whom a rollback would crown: the last champion that is not the present one and has not been reinstated since."""
    reigns = Reign.objects.filter(project=project).select_related("version__run__plan__project", "version__registration")
    present = reigns.filter(until_at=None).values_list("version_id", flat=True).first()
    before = reigns.exclude(version_id=present).filter(version__registration__status=Status.RETIRED)
    # after a rollback the way leads further back, not to the version that was rolled back from
    current = reigns.filter(until_at=None).first()
    if current is not None and current.is_rollback:
        first = reigns.filter(version_id=present).order_by("since_at", "pk")[0]
        before = before.filter(since_at__lt=first.since_at)
    reign = before.first()
    return reign.version if reign else None


def champions_on(project: Project, audience: Audience, day: dt.date) -> list[Reign]:
    """Who was champion at some time of this day (UTC), in order."""
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    end = start + dt.timedelta(days=1)
    rows = reigns_of(project, audience).filter(since_at__lt=end).exclude(until_at__lte=start)
    return list(rows.order_by("since_at", "pk"))


@dataclass(frozen=True)
class Standing:
    """What a version is in its project's registry, and what may be done about it."""

    registration: Registration | None
    champion: ModelVersion | None
    reigns: list[Reign]

    @property
    def status(self) -> str:
        return self.registration.status if self.registration else ""

    @property
    def actions(self) -> list[str]:
        match self.status:
            case Status.CANDIDATE:
                return ["promote", "retire"]
            case Status.CHAMPION:
                return ["retire"]
            case Status.RETIRED:
                return ["reinstate"]
        return ["register"]


def standing_of(version: ModelVersion) -> Standing:
    row = Registration.objects.filter(version=version).first()
    project = version.run.plan.project
    return Standing(row, champion_of(project), list(version.reigns.select_related("by")))


@dataclass(frozen=True)
class RegistryPage:
    project: Project
    champion: Reign | None
    earlier: ModelVersion | None
    reigns: list[Reign]
    on: dt.date | None
    champions_on: list[Reign]


def registry_page(project: Project, audience: Audience, *, on: dt.date | None = None) -> RegistryPage:
    reigns = list(reigns_of(project, audience))
    found = champions_on(project, audience, on) if on else []
    champion = next((reign for reign in reigns if reign.until_at is None), None)
    return RegistryPage(project, champion, earlier_champion(project), reigns, on, found)


def reign_json(reign: Reign) -> dict[str, Any]:
    version = reign.version
    return {
        "run": str(version.run_id), "run_number": version.run.number, "number": version.number, "digest": version.digest,
        "since_utc": reign.since_at.isoformat(), "until_utc": reign.until_at.isoformat() if reign.until_at else None,
        "rollback": reign.is_rollback, "reason": reign.reason,
    }  # fmt: skip


def registration_json(row: Registration) -> dict[str, Any]:
    version = row.version
    pooled = version.pooled or {}
    return {
        "run": str(version.run_id), "run_number": version.run.number, "number": version.number, "digest": version.digest,
        "parent": version.parent_id and version.number - 1, "plan_hash": version.run.plan.hash, "status": row.status,
        "registered_utc": row.registered_at.isoformat(), "reason": row.reason,
        "holdout": pooled.get("holdout"), "validation": pooled.get("validation"),
    }  # fmt: skip
