"""How long a plan's run will take, and what its protections cost: from what was measured, in runs or in a rehearsal."""

from __future__ import annotations

import statistics

from django.urls import reverse
from django.utils.translation import gettext as _

from clientagent.wire.plan import Plan as PlanSchema
from rounds.forms.effects import Effect, span_text
from rounds.models import Project, RehearsalReport, Round, Run

ROUNDS_LOOKED_AT, REHEARSALS_LOOKED_AT = 20, 20


def pace_of(project: Project, plan: PlanSchema) -> list[Effect]:
    """The time at the pace of the project's last run, and where else to learn of cost and accuracy before anything starts."""
    pace = _last_pace(project)
    hint = Effect(
        "player-play", _("'simulate' rehearses it on a table: its time, bytes and accuracy can be attached to the frozen plan."), "costs"
    )
    known = [*_accuracy(project, plan), hint]
    if pace is None:
        return known
    versions = plan.versions(len(plan.participants))
    words = {"time": span_text(_rounded(versions * pace)), "pace": span_text(_rounded(pace))}
    return [Effect("clock", _("About %(time)s at the pace of the project's last run (%(pace)s a round).") % words, "costs"), *known]


def _accuracy(project: Project, plan: PlanSchema) -> list[Effect]:
    """What the newest rehearsal of a like plan lost in accuracy: the same family of model under the same protections."""
    rows = RehearsalReport.objects.filter(plan__project=project).select_related("plan").order_by("-pk")[:REHEARSALS_LOOKED_AT]
    like = (row for row in rows if _protection(row.plan.document) == _protection(plan))
    row, change = next(((row, change) for row in like if (change := row.rehearsal.change) is not None), (None, 0.0))
    if row is None:
        if plan.privacy.record_dp is None and plan.privacy.institution_dp is None:
            return []
        unknown = _("What the noise costs in accuracy is not known: nothing under this protection was rehearsed here.")
        return [Effect("chart-line", unknown, "costs")]
    words = {"auc": f"{abs(change):.3f}", "plan": row.plan.title or row.plan.hash[:12]}
    text = _("A rehearsal under the same protection (%(plan)s) lost %(auc)s of AUC against all rows in one place, unprotected.")
    if change >= 0:
        text = _("A rehearsal under the same protection (%(plan)s) lost no AUC against all rows in one place, unprotected.")
    return [Effect("chart-line", text % words, "costs", reverse("rounds:plan-rehearsals", args=[row.plan.hash]))]


def _protection(plan: PlanSchema) -> tuple[object, ...]:
    """What the noise, the masks and the codec of two plans have in common where they cost as much."""
    record, bank, masks = plan.privacy.record_dp, plan.privacy.institution_dp, plan.privacy.secure_aggregation
    noise = (record and (record.epsilon, record.statistics), bank and (bank.epsilon, bank.delta, bank.clip))
    return plan.model.family, noise, masks is not None, plan.compression


def _last_pace(project: Project) -> float | None:
    """Seconds of the middle one of the newest run's last rounds."""
    run = Run.objects.filter(plan__project=project, rounds__state="published").order_by("-created_at").only("pk").first()
    if run is None:
        return None
    rows = Round.objects.filter(run=run, state="published").order_by("-number").values_list("opened_at", "published_at")
    return statistics.median((until - since).total_seconds() for since, until in rows[:ROUNDS_LOOKED_AT] if until)


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.2g}")
