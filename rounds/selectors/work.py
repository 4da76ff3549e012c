"""What an agent should do next: one signed order, or nothing."""

from __future__ import annotations

from django.db.models import F, OuterRef, Q, Subquery

from audit.selectors import epoch
from clientagent.wire.messages import PlanNotice, StatisticsOrder, WorkAnswer
from clientagent.wire.signing import Signed, sign_document
from clientagent.wire.strategies import SENT_DOWN
from institutions.authentication import AgentIdentity
from institutions.portal_key import portal_key
from rounds.clock import utc
from rounds.lifecycle import WORKING, RoundState, RunState
from rounds.models import ModelVersion, Participation, PlanDecision, PortalApproval, Seat, chain_of
from rounds.orders import work_order
from rounds.selectors.cohorts import IN_COHORT, notice_for, statistics_notice_for
from rounds.selectors.heads import head_update
from rounds.selectors.metrics import closing_evaluators


def work_for(identity: AgentIdentity) -> WorkAnswer | None:
    """Rounds first, then stages that precede them, then what may wait. Two queries say that there is nothing."""
    found = _round(identity) or _beside_rounds(identity)
    if found is None:
        return None
    order, chain = found
    return WorkAnswer(order=order, head=head_update(chain, identity.seen))


Found = tuple[Signed, str] | None


def _round(identity: AgentIdentity) -> Found:
    """An order to train; or, once this bank was ready, what the cohort of its round asks of it."""
    rows = (
        Participation.objects.filter(
            Q(phase__in=WORKING, ready_at=None) | Q(phase__in=IN_COHORT, ready_at__isnull=False, round__state=RoundState.OPEN),
            institution_id=identity.institution_id, seat__agent_id=identity.agent_id, round__run__state=RunState.RUNNING,
        ).order_by("round__opened_at").values_list("order", "round__run_id", "ready_at", "pk")
    )
    for order, run_id, ready_at, pk in rows:
        found = Signed.model_validate(order) if ready_at is None else notice_for(pk)
        if found is not None:
            return found, chain_of(run_id)
    return None


def _beside_rounds(identity: AgentIdentity) -> Found:
    seats = Seat.objects.filter(
        Q(state=Seat.State.SEATED, run__state=RunState.RUNNING, run__closing_at__isnull=False)
        | Q(state__in=(Seat.State.APPROVED, Seat.State.COUNTED), run__state=RunState.PREPARING)
        | Q(state=Seat.State.INVITED, run__state=RunState.PROPOSED)
        | Q(state=Seat.State.SEATED, run__state=RunState.FINISHED, acknowledged_at=None),
        institution_id=identity.institution_id,
    )
    states = set(seats.order_by().values_list("run__state", flat=True).distinct())
    finders = {
        RunState.RUNNING: _evaluation, RunState.PREPARING: _statistics, RunState.PROPOSED: _notice, RunState.FINISHED: _result,
    }
    return next((found for state, find in finders.items() if state in states and (found := find(identity))), None)


def _own_seats(identity: AgentIdentity, **where: object):  # type: ignore[no-untyped-def]
    seats = Seat.objects.select_related("run__plan__project", "run__selected", "institution")
    return seats.filter(Q(agent_id=identity.agent_id) | Q(agent=None), institution_id=identity.institution_id, **where)


def _evaluation(identity: AgentIdentity) -> Found:
    """The closing evaluation; under secure aggregation it is a round of its own."""
    seats = _own_seats(identity, state=Seat.State.SEATED, run__state=RunState.RUNNING, run__closing_at__isnull=False)
    for seat in seats:
        if seat.run.plan.document.privacy.secure_aggregation is not None:
            continue
        version = seat.run.last_version
        is_asked = identity.institution_id in closing_evaluators(seat.run)
        if is_asked and not version.evaluations.filter(institution_id=identity.institution_id).exists():
            return Signed.model_validate(work_order(seat.run, seat, base=version, kind="evaluate")), seat.run.chain
    return None


def _statistics(identity: AgentIdentity) -> Found:
    seat = _own_seats(identity, state=Seat.State.APPROVED, run__state=RunState.PREPARING).first()
    if seat is None:
        return _statistics_cohort(identity)
    order = StatisticsOrder(
        run=str(seat.run_id), plan_hash=seat.run.plan.hash, deadline_utc=utc(seat.run.deadline_at), epoch=epoch()
    )
    return sign_document(order, portal_key()), seat.run.chain


def _statistics_cohort(identity: AgentIdentity) -> Found:
    """Under masks, after this bank declared its rows: what the cohort that sums statistics asks of it."""
    for seat in _own_seats(identity, state=Seat.State.COUNTED, run__state=RunState.PREPARING).filter(agent_id=identity.agent_id):
        if seat.run.plan.document.masks_statistics and (notice := statistics_notice_for(seat)) is not None:
            return notice, seat.run.chain
    return None


def _notice(identity: AgentIdentity) -> Found:
    """A plan on which this bank has said nothing yet, or on which its operator clicked since it said ``pending``."""
    decided = PlanDecision.objects.filter(plan=OuterRef("run__plan"), institution_id=identity.institution_id)
    clicked = PortalApproval.objects.filter(plan=OuterRef("run__plan"), institution_id=identity.institution_id)
    seats = _own_seats(identity, state=Seat.State.INVITED, run__state=RunState.PROPOSED).annotate(
        decided_at=Subquery(decided.values("decided_at")[:1]), clicked_at=Subquery(clicked.values("at")[:1])
    )
    seat = seats.filter(Q(decided_at=None) | Q(clicked_at__gt=F("decided_at"))).order_by("run__created_at").first()
    if seat is None:
        return None
    notice = PlanNotice(
        run=str(seat.run_id), project=seat.run.plan.project.slug, plan_hash=seat.run.plan.hash,
        portal_approval=seat.clicked_at is not None,
    )
    return sign_document(notice, portal_key()), seat.run.chain


def _result(identity: AgentIdentity) -> Found:
    seat = (
        _own_seats(identity, state=Seat.State.SEATED, run__state=RunState.FINISHED, acknowledged_at=None)
        .filter(agent_id=identity.agent_id).order_by("run__ended_at").first()
    )
    if seat is None:
        return None
    return Signed.model_validate(work_order(seat.run, seat, base=seat.run.selected, kind="collect")), seat.run.chain


def version_for(identity: AgentIdentity, run_id: str, number: int) -> ModelVersion | None:
    """A version of a run whose roster names this bank; blobs are read only through such a row (invariant 15)."""
    return ModelVersion.objects.filter(
        run_id=run_id, number=number, run__seats__institution_id=identity.institution_id, run__seats__state=Seat.State.SEATED
    ).first()


def state_for(identity: AgentIdentity, run_id: str, number: int) -> ModelVersion | None:
    """The same version, where the plan's strategy makes banks train with the server's vectors beside it."""
    rows = ModelVersion.objects.select_related("state", "run__plan").filter(
        run_id=run_id, number=number, state__isnull=False, run__seats__institution_id=identity.institution_id,
        run__seats__state=Seat.State.SEATED,
    )
    version = rows.first()
    return version if version and version.run.plan.document.strategy.name in SENT_DOWN else None


def parameters_of(version: ModelVersion) -> int:
    """How many values a version holds."""
    return version.run.parameters or 0
