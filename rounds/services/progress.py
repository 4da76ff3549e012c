"""Where an agent says it is: shown live, never on the ledger, may be lost."""

from __future__ import annotations

from typing import Any

from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce

from clientagent.wire.messages import Progress
from institutions.authentication import AgentIdentity
from rounds import crashing, live
from rounds.clock import now
from rounds.lifecycle import PHASE_MOVES, Phase, RoundState
from rounds.models import ModelVersion, Participation, Round


def note_progress(*, identity: AgentIdentity, progress: Progress) -> None:
    """Where an agent says it is. One guarded UPDATE; late or backward news is ignored."""
    moment = now()
    was = [phase for phase, to in PHASE_MOVES.items() if Phase(progress.phase) in to]
    changed: dict[str, Any] = {
        "phase": progress.phase, "epoch": progress.epoch, "epochs": progress.epochs, "batch": progress.batch,
        "batches": progress.batches, "bytes_sent": progress.bytes_sent, "problem": None,
        f"{progress.phase}_at": Coalesce(F(f"{progress.phase}_at"), Value(moment, DateTimeField())),
    }
    if progress.bytes_total:
        changed["bytes_total"] = progress.bytes_total
    # no join: PostgreSQL looks again at the row that it waited for, but not at the rows that a subquery once found
    rounds = Round.objects.filter(run_id=progress.run, number=progress.round).order_by()
    rows = Participation.objects.filter(
        institution_id=identity.institution_id, round__in=rounds, slot=progress.attempt, phase__in=was,
    )
    crashing.reached(f"phase:{progress.phase}:before")
    if rows.update(**changed):
        crashing.reached(f"phase:{progress.phase}:after")
        live.announce(progress.run)


def note_download(*, identity: AgentIdentity, version: ModelVersion, size: int) -> None:
    """A base version went out to a bank: its live round counts the bytes. Other downloads belong to no round."""
    live_rounds = Participation.objects.filter(
        institution_id=identity.institution_id, round__base=version, round__state=RoundState.OPEN
    )
    live_rounds.update(bytes_down=F("bytes_down") + size)
