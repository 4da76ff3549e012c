"""The grid's columns under secure aggregation: what each bank has said in the stages of its round's cohort, and who fell out where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.utils.translation import gettext as _

from rounds.lifecycle import COHORT_LIVE, WORKING, CohortStage, Phase
from rounds.models import Cohort, Participation, Round, Run

STEPS: tuple[tuple[CohortStage, ...], ...] = (
    (CohortStage.KEYS,), (CohortStage.SHARES,), (CohortStage.MASKED,), (CohortStage.CONSISTENCY, CohortStage.UNMASK),
)  # fmt: skip
"""The stages of each column. A bank that missed one of them is out of the later ones."""
ORDER = list(COHORT_LIVE)


@dataclass(frozen=True)
class CohortView:
    """A round's last cohort as its rows say; ``stage`` is empty before one was formed."""

    stage: str = ""
    members: frozenset[str] = frozenset()
    spoken: Mapping[str, frozenset[str]] = field(default_factory=dict)
    deadline_at: datetime | None = None

    @property
    def is_live(self) -> bool:
        return self.stage in COHORT_LIVE

    def awaits(self, slug: str) -> bool:
        """Whether this bank is asked in the stage that is open, and has not spoken."""
        if not self.is_live or slug not in self.members or self._spoke(self.stage, slug):
            return False
        at = ORDER.index(CohortStage(self.stage))
        return at == 0 or self._spoke(ORDER[at - 1], slug)

    def statuses(self, slug: str) -> list[str]:
        """A word for each column of ``STEPS``: done, waiting, ahead, bad where it fell out, idle after that."""
        found: list[str] = []
        for stages in STEPS:
            found.append("idle" if found and found[-1] in ("bad", "idle") else self._status(stages, slug))
        return found

    def _status(self, stages: tuple[CohortStage, ...], slug: str) -> str:
        if slug not in self.members:
            return "ahead" if not self.stage else "idle"
        if self._spoke(stages[-1], slug):
            return "done"
        if self.stage in stages:
            return "waiting" if self.awaits(slug) else "active" if self._spoke(stages[0], slug) else "bad"
        if self.is_live and ORDER.index(CohortStage(self.stage)) < ORDER.index(stages[0]):
            return "ahead"
        if self.stage == CohortStage.DONE and stages[-1] == CohortStage.UNMASK:
            return "idle"  # enough others had answered: nothing was missing
        return "bad"

    def _spoke(self, stage: str, slug: str) -> bool:
        return slug in self.spoken.get(stage, frozenset())


def cohort_view(round_: Round) -> CohortView:
    return _view_of(round_.cohorts.order_by("number").last())


def statistics_view(run: Run) -> CohortView:
    """The cohort that sums statistics before round 1."""
    return _view_of(run.statistics_cohorts.order_by("number").last())


def _view_of(cohort: Cohort | None) -> CohortView:
    if cohort is None:
        return CohortView()
    spoken: dict[str, set[str]] = {}
    for stage, slug in cohort.messages.values_list("stage", "institution__slug"):
        spoken.setdefault(stage, set()).add(slug)
    members = frozenset(member["institution"] for member in cohort.terms["members"])
    return CohortView(
        cohort.stage, members, {stage: frozenset(slugs) for stage, slugs in spoken.items()},
        cohort.deadline_at if cohort.stage in COHORT_LIVE else None,
    )


def columns() -> tuple[str, ...]:
    return _("Model"), _("Training"), _("Keys"), _("Shares"), _("Masked update"), _("Unmasking"), _("Outcome")


def is_awaited(part: Participation, view: CohortView) -> bool:
    """Before the cohort is formed all who train are waited for, then those whom its stage asks."""
    if view.stage:
        return view.awaits(part.institution.slug) and part.phase in (*WORKING, Phase.RECEIVED)
    return part.phase in WORKING and part.ready_at is None
