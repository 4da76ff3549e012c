"""How long a plan's run will take, and what its protections cost: from what was measured, in runs or in a rehearsal."""

from __future__ import annotations

import statistics

from django.utils.translation import gettext as _

from clientagent.wire.plan import Plan as PlanSchema
from rounds.forms.effects import Effect, span_text
from rounds.models import Project, Round, Run

ROUNDS_LOOKED_AT = 20


def pace_of(project: Project, plan: PlanSchema) -> list[Effect]:
    """The time at the pace of the project's last run, and where else to learn of cost and accuracy before anything starts."""
    pace = _last_pace(project)
    hint = Effect("player-play", _("'simulate' rehearses it on a table: its time, bytes and accuracy can be attached to the frozen plan."))
    if pace is None:
        return [hint]
    versions = plan.versions(len(plan.participants))
    words = {"time": span_text(_rounded(versions * pace)), "pace": span_text(_rounded(pace))}
    return [Effect("clock", _("About %(time)s at the pace of the project's last run (%(pace)s a round).") % words), hint]


def _last_pace(project: Project) -> float | None:
    """Seconds of the middle one of the newest run's last rounds."""
    run = Run.objects.filter(plan__project=project, rounds__state="published").order_by("-created_at").only("pk").first()
    if run is None:
        return None
    rows = Round.objects.filter(run=run, state="published").order_by("-number").values_list("opened_at", "published_at")
    return statistics.median((until - since).total_seconds() for since, until in rows[:ROUNDS_LOOKED_AT] if until)


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.2g}")
