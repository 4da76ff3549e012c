"""Signed pieces of work: what an agent is told to do, from rows that say so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from audit.selectors import epoch
from clientagent.wire.messages import WorkOrder
from clientagent.wire.signing import sign_document
from clientagent.wire.strategies import SENT_DOWN, keeps_own
from institutions.portal_key import portal_key
from rounds.clock import now, utc
from rounds.lifecycle import WORKING, RoundState
from rounds.models import ModelVersion, Participation, Round, Run, Seat, Update

RESULT_KEPT = timedelta(days=30)
"""For how long a bank is asked to fetch the result."""


def work_order(
    run: Run, seat: Seat, *, base: ModelVersion, kind: Literal["train", "evaluate", "collect"], round_: Round | None = None,
    slot: int | None = None,
) -> dict[str, Any]:
    """A signed WorkOrder as JSON. Without a round it is named by the version's number."""
    deadline = round_.deadline_at if round_ else (run.deadline_at or now() + RESULT_KEPT)
    state_digest, aggregated = _beside(run, seat, base, kind)
    order = WorkOrder(
        kind=kind, run=str(run.pk), institution=seat.institution.slug, manifest_digest=run.manifest_digest,
        round=round_.number if round_ else base.number, attempt=slot or (round_.attempt if round_ else 1),
        base_number=base.number, base_digest=base.digest, base_bytes=base.bytes,
        state_digest=state_digest, aggregated=aggregated, clip=base.clip if kind == "train" else None,
        evaluate=kind == "evaluate" or (kind == "train" and is_evaluated(run, base.number)), deadline_utc=utc(deadline),
        epoch=epoch(),
    )
    return sign_document(order, portal_key()).model_dump(mode="json")


def _beside(run: Run, seat: Seat, base: ModelVersion, kind: str) -> tuple[str | None, str | None]:
    """What a bank starts from beside the base: the server's vectors, and the update with which its own were kept.

    In the end its own are the newest, whichever version was selected.
    """
    plan = run.plan.document
    if kind == "evaluate" or not keeps_own(plan):
        return None, None
    if kind == "collect":
        return None, _aggregated(run, seat, run.last_version)
    return base.state_id if plan.strategy.name in SENT_DOWN else None, _aggregated(run, seat, base)


def _aggregated(run: Run, seat: Seat, base: ModelVersion) -> str | None:
    """The digest of the bank's last update that was used on the way to the base.

    In async mode whatever was accepted will be used, and the bank has meanwhile gone on from it.
    """
    rows = Update.objects.filter(participation__round__run=run, participation__seat=seat).order_by("-received_at")
    if not run.is_async:
        rows = rows.filter(weight__isnull=False, into__state=RoundState.PUBLISHED, into__number__lte=base.number)
    return rows.values_list("digest", flat=True).first()


def is_evaluated(run: Run, number: int) -> bool:
    """Whether the plan asks for an evaluation of this version in the round that trains from it."""
    every = run.plan.document.evaluation.every
    return bool(every and number and number % every == 0)


def renew_orders() -> int:
    """Sign the open orders anew, for the epoch that a restore has opened; returns how many."""
    count = 0
    open_ = Participation.objects.filter(phase__in=WORKING).select_related("round__run__plan", "round__base", "seat__institution")
    for row in open_:
        run, base = row.round.run, row.round.base
        kind: Literal["train", "evaluate"] = "evaluate" if row.round.only_counts else "train"
        row.order = work_order(run, row.seat, base=base, kind=kind, round_=row.round, slot=row.slot)
        row.save(update_fields=["order"])
        count += 1
    return count
