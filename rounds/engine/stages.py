"""When a masked round moves: its cohort is formed of the banks that are ready, and its stages end one after the other.

A stage ends when all who may still speak have spoken, or at its timeout with those who have; too few, and the attempt is given up.
"""

from __future__ import annotations

from datetime import datetime

from clientagent.wire.errors import CohortTooSmall, ShareInvalid
from clientagent.wire.masking import Collector, Stage, remaining_masks
from rounds import services
from rounds.clock import is_overdue
from rounds.lifecycle import WORKING, RunState
from rounds.models import Cohort, Round, Run
from rounds.selectors.cohorts import awaited_in, collector_of, forms_at, has_quorum, live_cohort, present


def step_masked(run: Run, round_: Round, moment: datetime) -> bool:
    """One move of an open round under secure aggregation, or False when nothing is due."""
    if run.state != RunState.RUNNING:
        return False
    cohort = live_cohort(round_)
    return _step_gathering(run, round_, moment) if cohort is None else _step_stage(round_, cohort, moment)


# ------------------------------------------------------------------ before the cohort
def _step_gathering(run: Run, round_: Round, moment: datetime) -> bool:
    plan = run.plan.document
    rows = list(round_.participations.filter(phase__in=WORKING).values_list("institution__slug", "ready_at"))
    ready = {slug for slug, at in rows if at is not None}
    working = {slug for slug, at in rows if at is None}
    missing = [slug for slug in plan.schedule.required if slug not in ready]
    overdue = is_overdue(round_.deadline_at, moment)
    waited = (moment - round_.opened_at).total_seconds() >= plan.schedule.min_wait_s
    if len(ready) >= round_.needed and not missing:
        patient = not is_overdue(forms_at(round_, plan), moment)
        if overdue or (waited and not (working and patient)):
            return services.form_cohort(round_=round_)
    hopeless = len(ready) + len(working) < round_.needed or any(slug not in working for slug in missing)
    if overdue or hopeless:
        why = "deadline passed" if overdue else "too few banks left"
        late = f", waiting for {', '.join(sorted(working))}" if working else ""
        return services.abandon_round(round_=round_, reason=f"{why}: {len(ready)} of {round_.needed} needed banks are ready{late}")
    return False


# ------------------------------------------------------------------------- its stages
def _step_stage(round_: Round, cohort: Cohort, moment: datetime) -> bool:
    collector = collector_of(cohort)
    awaited = awaited_in(collector, present(round_))
    overdue = is_overdue(cohort.deadline_at, moment) or is_overdue(round_.deadline_at, moment)
    if collector.may_close and (not awaited or overdue or collector.is_complete):
        return _close(round_, cohort, collector)
    spoken = len(collector.spoken(collector.stage))
    if overdue or not awaited or collector.is_hopeless:
        waiting = f", waiting for {', '.join(awaited)}" if awaited else ""
        reason = f"stage {collector.stage} of the cohort: {spoken} of {len(collector.cohort.members)} banks spoke, too few{waiting}"
        return services.abandon_round(round_=round_, reason=reason)
    return False


def _close(round_: Round, cohort: Cohort, collector: Collector) -> bool:
    """The end of a stage. Whether the plan's quorum stays is asked while nothing can be opened yet."""
    plan = round_.run.plan.document
    try:
        closed = collector.close()
        if collector.stage == Stage.MASKED and not has_quorum(collector, plan, round_.needed):
            raise CohortTooSmall(expected=f"{round_.needed} masked updates, and all of the required banks",
                                 got=", ".join(collector.survivors))
        if collector.stage == Stage.UNMASK:
            remaining_masks(closed)  # a dealer whose shares rebuild something else ends the attempt here, by its name
    except (CohortTooSmall, ShareInvalid) as refusal:
        return services.abandon_round(round_=round_, reason=refusal.sentence)
    if collector.stage == Stage.UNMASK:
        return services.close_round(round_=round_)
    return services.close_stage(cohort=cohort)
