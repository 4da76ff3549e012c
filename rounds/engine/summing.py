"""When statistics under masks move: a cohort of the banks that declared their rows, its stages, and what it comes to."""

from __future__ import annotations

from datetime import datetime

from clientagent.wire.errors import CohortTooSmall, ShareInvalid
from clientagent.wire.masking import Collector, Stage, remaining_masks
from rounds import services
from rounds.clock import is_overdue
from rounds.lifecycle import CohortStage
from rounds.models import Cohort, Run, Seat
from rounds.selectors.cohorts import awaited_in, collector_of

MOST_COHORTS = 3
"""Attempts at a sum of statistics before a run is given up."""


def step_statistics(run: Run, moment: datetime) -> bool | None:
    """One move of the cohort that sums statistics; False when nothing is due, None when its sum may be opened."""
    cohort = run.statistics_cohorts.order_by("-number").first()
    if cohort is None or (cohort.stage == CohortStage.FAILED and cohort.number < MOST_COHORTS):
        return services.form_statistics_cohort(run=run)
    if cohort.stage == CohortStage.DONE:
        return None
    if cohort.stage == CohortStage.FAILED:
        services.fail_run(
            run=run, code="cohort_too_small", reason=f"the statistics could not be summed under masks in {MOST_COHORTS} attempts"
        )
        return True
    return _step_stage(run, cohort, moment)


def _step_stage(run: Run, cohort: Cohort, moment: datetime) -> bool:
    collector = collector_of(cohort)
    here = run.seats.filter(state=Seat.State.COUNTED).values_list("institution__slug", flat=True)
    awaited, overdue = awaited_in(collector, here), is_overdue(cohort.deadline_at, moment)
    if collector.may_close and (not awaited or overdue or collector.is_complete):
        return _close(run, cohort, collector)
    if overdue or not awaited or collector.is_hopeless:
        spoken = len(collector.spoken(collector.stage))
        return services.give_up_statistics_cohort(
            cohort=cohort, reason=f"stage {collector.stage}: {spoken} of {collector.cohort.size} banks spoke, too few"
        )
    return False


def _close(run: Run, cohort: Cohort, collector: Collector) -> bool:
    """The end of a stage. Whether enough banks stay for the run is asked while nothing can be opened yet."""
    plan = run.plan.document
    try:
        closed = collector.close()
        needed = max(plan.needed(run.seats.count()), plan.privacy.min_banks)
        enough = len(collector.survivors) >= needed and set(plan.schedule.required) <= set(collector.survivors)
        if collector.stage == Stage.MASKED and not enough:
            raise CohortTooSmall(expected=f"{needed} banks, and all of the required ones", got=", ".join(collector.survivors))
        if collector.stage == Stage.UNMASK:
            remaining_masks(closed)
    except (CohortTooSmall, ShareInvalid) as refusal:
        return services.give_up_statistics_cohort(cohort=cohort, reason=refusal.sentence)
    return services.close_statistics_stage(cohort=cohort)
