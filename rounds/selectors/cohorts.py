"""A round's cohort as its rows tell it: who spoke, who is awaited, and what a member is told next."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from audit.selectors import epoch
from clientagent.wire.cohort_orders import CohortNotice
from clientagent.wire.masking import Collector, Stage
from clientagent.wire.plan import Plan
from clientagent.wire.secure_messages import CohortTerms
from clientagent.wire.signing import Signed, parse, sign_document
from institutions.portal_key import portal_key
from rounds.clock import utc
from rounds.lifecycle import COHORT_LIVE, WORKING, Phase
from rounds.models import Cohort, Participation, Round, Seat

IN_COHORT = (*WORKING, Phase.RECEIVED)
"""Phases in which a bank that was ready still speaks in its cohort."""


def live_cohort(round_: Round) -> Cohort | None:
    return round_.cohorts.filter(stage__in=COHORT_LIVE).first()


def collector_of(cohort: Cohort) -> Collector:
    """The portal's side of a cohort that has not failed, rebuilt from its rows."""
    messages: dict[Stage, dict[str, Signed]] = {}
    for stage, slug, signed in cohort.messages.values_list("stage", "institution__slug", "signed"):
        messages.setdefault(Stage(stage), {})[slug] = Signed.model_validate(signed)
    return Collector(parse(CohortTerms, cohort.terms), Stage(cohort.stage), messages)


def present(round_: Round) -> set[str]:
    """Banks that may still speak in this round's cohort. One whose vector is in may yet refuse to go on."""
    rows = round_.participations.filter(phase__in=IN_COHORT, ready_at__isnull=False)
    rows = rows.exclude(phase=Phase.RECEIVED, problem__isnull=False)
    return set(rows.values_list("institution__slug", flat=True))


def awaited_in(collector: Collector, here: Iterable[str]) -> list[str]:
    """Of the banks that may still speak in this stage those who are still in the round."""
    able = set(here)
    return [bank for bank in collector.awaited if bank in able]


def has_quorum(collector: Collector, plan: Plan, needed: int) -> bool:
    """Whether the survivors are as many as the plan wants, and all that it requires: asked before anything is opened."""
    survivors = collector.survivors
    return len(survivors) >= needed and set(plan.schedule.required) <= set(survivors)


def forms_at(round_: Round, plan: Plan) -> datetime | None:
    """When a cohort is formed of those that are ready: a stage's time after enough of them are. None: not enough yet."""
    rows = round_.participations.filter(phase__in=WORKING, ready_at__isnull=False).values_list("ready_at", flat=True)
    ready = sorted(moment for moment in rows if moment is not None)
    return ready[round_.needed - 1] + plan.stage_timeout if len(ready) >= round_.needed else None


def statistics_notice_for(seat: Seat) -> Signed | None:
    """What the cohort that sums statistics asks of this bank now; None when it has spoken, or there is none."""
    cohort = seat.run.statistics_cohorts.filter(stage__in=COHORT_LIVE).first()
    if cohort is None:
        return None
    slug, collector = seat.institution.slug, collector_of(cohort)
    if slug not in collector.awaited:
        return None
    return _notice(cohort, collector, slug, collector.terms.attempt)


def notice_for(participation_id: int) -> Signed | None:
    """What the cohort of this bank's round asks of it now; None when it has spoken, or is not in one."""
    row = Participation.objects.select_related("institution", "round").get(pk=participation_id)
    cohort = live_cohort(row.round)
    if row.phase == Phase.RECEIVED and row.problem is not None:
        return None
    if cohort is None or cohort.messages.filter(stage=cohort.stage, institution_id=row.institution_id).exists():
        return None
    slug, collector = row.institution.slug, collector_of(cohort)
    if slug not in collector.awaited:
        return None
    return _notice(cohort, collector, slug, row.slot)


def _notice(cohort: Cohort, collector: Collector, slug: str, attempt: int) -> Signed:
    terms = collector.terms
    notice = CohortNotice(
        run=terms.run, manifest_digest=terms.manifest_digest, round=terms.round, attempt=attempt, cohort=cohort.number,
        rid=cohort.rid, institution=slug, stage=cohort.stage, content=collector.notice(slug),  # type: ignore[arg-type]
        deadline_utc=utc(cohort.deadline_at), epoch=epoch(),
    )
    return sign_document(notice, portal_key())
