"""Rows of the tables of projects, plans, runs, versions and rounds, as an audience may see them."""

from __future__ import annotations

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from rounds.models import ModelVersion, Plan, Project, Round, Run
from rounds.selectors.scope import Audience, visible_plans, visible_projects, visible_runs


def project_rows(audience: Audience) -> QuerySet[Project]:
    """Projects with their numbers of banks, plans and runs, and the instant of the last run."""
    runs = Run.objects.filter(plan__project=OuterRef("pk")).order_by("-created_at")
    scope = visible_projects(audience).values("pk")
    return Project.objects.filter(pk__in=scope).annotate(
        bank_count=Count("participants", distinct=True),
        plan_count=Count("plans", distinct=True),
        run_count=Count("plans__runs", distinct=True),
        last_run_at=Subquery(runs.values("created_at")[:1]),
        last_run_state=Subquery(runs.values("state")[:1]),
        last_run_id=Subquery(runs.values("pk")[:1]),
    )


def plan_rows(audience: Audience, project: Project | None = None) -> QuerySet[Plan]:
    rows = visible_plans(audience)
    rows = rows.filter(project=project) if project else rows
    return rows.annotate(
        run_count=Count("runs", distinct=True),
        approvals=Count("decisions", filter=Q(decisions__decision="approved"), distinct=True),
        refusals=Count("decisions", filter=Q(decisions__decision="refused"), distinct=True),
    )


def run_rows(audience: Audience, *, state: str = "", project: str = "") -> QuerySet[Run]:
    """Runs with their published rounds, banks and the pooled figures of their newest evaluated version."""
    newest = ModelVersion.objects.filter(run=OuterRef("pk"), pooled__isnull=False).order_by("-number")
    rows = Run.objects.filter(pk__in=visible_runs(audience).values("pk")).select_related("plan__project", "selected")
    rows = rows.filter(state=state) if state else rows
    rows = rows.filter(plan__project__slug=project) if project else rows
    return rows.annotate(
        published=Count("rounds", filter=Q(rounds__state="published"), distinct=True),
        bank_count=Count("seats", distinct=True),
        newest_pooled=Subquery(newest.values("pooled")[:1]),
    )


def version_rows(audience: Audience, project: Project | None = None) -> QuerySet[ModelVersion]:
    """Results of finished runs: the versions that banks fetch."""
    runs = visible_runs(audience).filter(selected__isnull=False)
    runs = runs.filter(plan__project=project) if project else runs
    return (
        ModelVersion.objects.filter(pk__in=runs.values("selected")).select_related("run__plan__project").order_by("-created_at")
    )


def round_rows(audience: Audience, *, state: str = "", project: str = "") -> QuerySet[Round]:
    """Rounds of all runs, for the history: with how many updates were in, refused or dropped."""
    rows = (
        Round.objects.filter(run__in=visible_runs(audience).values("pk"), only_counts=False)
        .select_related("run__plan__project")
        .defer("aggregation", "run__manifest", "run__preprocessing", "run__plan__text", "run__plan__signed")
    )
    rows = rows.filter(state=state) if state else rows
    rows = rows.filter(run__plan__project__slug=project) if project else rows
    return rows.annotate(
        bank_count=Count("participations", distinct=True),
        update_count=Count("participations__update", distinct=True),
        refused_count=Count("participations", filter=Q(participations__phase__in=("rejected", "dropped", "late")), distinct=True),
    )
