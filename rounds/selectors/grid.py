"""The grid of banks and phases: for each bank of a round where it is, how far, and why it is not further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from institutions.models import Agent
from rounds.lifecycle import Phase
from rounds.models import Participation, Seat
from rounds.selectors.scope import Audience

OFFLINE_AFTER = timedelta(seconds=60)
"""An agent's long poll lasts at most 25 seconds; one that was silent for longer than two of them is away."""

_REACHED = {
    Phase.INVITED: 0, Phase.PULLED: 1, Phase.TRAINING: 1, Phase.READY: 2, Phase.UPLOADING: 2, Phase.RECEIVED: 4, Phase.ACCEPTED: 4,
}
"""How many of the steps lie behind a bank in this phase."""


def presence_of(seen: datetime | None, now: datetime) -> str:
    """online, offline, or never."""
    if seen is None:
        return "never"
    return "offline" if now - seen > OFFLINE_AFTER else "online"


@dataclass(frozen=True)
class Cell:
    """One step of one bank. ``status``: done, active, ahead, bad or idle."""

    status: str
    text: str = ""
    share: float | None = None
    bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Row:
    """One bank. ``since`` belongs to ``reason``: the instant from which it holds."""

    slug: str
    name: str
    place: int
    own: bool
    visible: bool
    kind: str
    state: str
    cells: list[Cell]
    rows: int | None = None
    weight: float | None = None
    reason: str = ""
    since: datetime | None = None
    advice: str = ""
    waited_for: bool = False
    norm: float | None = None
    cosine: float | None = None
    train_loss: float | None = None


@dataclass(frozen=True)
class Grid:
    columns: list[str]
    rows: list[Row] = field(default_factory=list)

    @property
    def waiting(self) -> list[Row]:
        return [row for row in self.rows if row.waited_for]


def presence(seats: Sequence[Seat]) -> dict[int, tuple[bool, datetime | None]]:
    """For each institution of these seats: whether it has an approved agent, and when one was last seen."""
    found: dict[int, tuple[bool, datetime | None]] = {}
    rows = Agent.objects.filter(institution__in=[seat.institution_id for seat in seats], state=Agent.State.APPROVED)
    for institution_id, seen in rows.values_list("institution_id", "last_seen_at"):
        before = found.get(institution_id, (True, None))[1]
        found[institution_id] = (True, max((when for when in (before, seen) if when), default=None))
    return found


def away(seat: Seat, agents: dict[int, tuple[bool, datetime | None]], now: datetime) -> tuple[str, datetime | None]:
    """Why nothing can come from this bank at the moment, and since when; an empty reason if it can."""
    known, seen = agents.get(seat.institution_id, (False, None))
    if seat.institution.is_suspended:
        return _("The institution is suspended"), None
    if not known:
        return _("No approved agent"), None
    if seen is None:
        return _("Its agent was never seen"), None
    return (_("Offline since"), seen) if now - seen > OFFLINE_AFTER else ("", None)


def preparation_grid(
    seats: Sequence[Seat], audience: Audience, places: dict[int, int], agents: dict[int, tuple[bool, datetime | None]], now: datetime
) -> Grid:
    """Before round 1: each bank's word on the plan, then its statistics."""
    return Grid([_("Approval"), _("Statistics"), _("Roster")], [_seat_row(seat, audience, places, agents, now) for seat in seats])


def _seat_row(
    seat: Seat, audience: Audience, places: dict[int, int], agents: dict[int, tuple[bool, datetime | None]], now: datetime
) -> Row:
    visible = audience.sees_figures_of(seat.institution_id)
    reached = {"invited": 0, "approved": 1, "counted": 2, "seated": 3}.get(seat.state, -1)
    bad = {"refused": 0, "unfit": 1, "absent": 1, "dropped": 2}.get(seat.state, 9)
    cells = [Cell("bad" if i == bad else "done" if i < max(reached, bad if bad < 9 else 0) else "active" if i == reached and i < 2 else "ahead") for i in range(3)]
    reason, since = away(seat, agents, now) if visible and seat.state in ("invited", "approved") else ("", None)
    advice = ""
    if seat.state == Seat.State.INVITED and not reason:
        reason = _("This bank has not approved the plan yet")
    if seat.state in ("refused", "unfit", "dropped", "absent"):
        reason = seat.reason if visible else ""
        reason = f"{seat.column}: {reason}" if visible and seat.column and seat.column not in reason else reason
    if seat.state == Seat.State.UNFIT:
        advice = _("Correct the named column at the bank, then propose a new run; 'fedagent check' shows the same problem there.")
    return Row(
        seat.institution.slug, seat.institution.name, places.get(seat.institution_id, 0), audience.is_own(seat.institution_id),
        visible, "seat", seat.state, cells, rows=seat.rows, weight=seat.weight, reason=reason, since=since, advice=advice,
        waited_for=seat.state in ("invited", "approved"),
    )


def round_grid(
    participations: Sequence[Participation], absent: Sequence[Seat], audience: Audience, places: dict[int, int],
    agents: dict[int, tuple[bool, datetime | None]], now: datetime, *, is_open: bool,
) -> Grid:
    """One round: model pulled, training, upload, outcome; then the banks that have no part in it, and why."""
    rows = [_row(part, audience, places, agents, now, is_open=is_open) for part in participations]
    rows += [_seat_row(seat, audience, places, agents, now) for seat in absent]
    columns = [_("Model"), _("Training"), _("Upload"), _("Outcome")]
    padded = [row if len(row.cells) == 4 else _replaced(row) for row in rows]
    return Grid(columns, padded)


def _replaced(row: Row) -> Row:
    return Row(**(row.__dict__ | {"cells": [Cell("idle")] * 4, "waited_for": False}))


def _row(
    part: Participation, audience: Audience, places: dict[int, int], agents: dict[int, tuple[bool, datetime | None]],
    now: datetime, *, is_open: bool,
) -> Row:
    visible = audience.sees_figures_of(part.institution_id)
    phase = Phase(part.phase)
    update = getattr(part, "update", None) if visible else None
    waited_for = is_open and phase not in (Phase.RECEIVED, Phase.ACCEPTED, Phase.DROPPED, Phase.LATE)
    reason, since, advice = _reason(part, phase, visible, agents, now) if is_open or phase in (Phase.REJECTED, Phase.DROPPED) else ("", None, "")
    return Row(
        part.institution.slug, part.institution.name, places.get(part.institution_id, 0), audience.is_own(part.institution_id),
        visible, "phase", part.phase, _cells(part, phase, visible), rows=part.seat.rows,
        weight=update.weight if update and update.weight is not None else part.seat.weight, reason=reason, since=since, advice=advice,
        waited_for=waited_for, norm=update.norm if update else None, cosine=update.cosine if update else None,
        train_loss=update.train_loss if update else None,
    )


def _cells(part: Participation, phase: Phase, visible: bool) -> list[Cell]:
    if phase in (Phase.REJECTED, Phase.LATE, Phase.DROPPED):
        reached = sum(1 for moment in (part.pulled_at, part.training_at, part.uploading_at) if moment)
        return [Cell("done" if i < reached else "idle") for i in range(3)] + [Cell("bad")]
    reached = _REACHED[phase]
    cells = []
    for i in range(4):
        status = "done" if i < reached else "active" if i == reached and phase != Phase.PULLED else "ahead"
        if i == 0 and phase == Phase.INVITED:
            status = "ahead"
        cells.append(_described(part, i, status) if visible else Cell(status))
    return cells


def _described(part: Participation, step: int, status: str) -> Cell:
    """Figures of a step, for those who may see them."""
    if step == 0 and status == "done":
        return Cell(status, seconds=_between(part.round.opened_at, part.pulled_at))
    if step == 1 and status == "active":
        return Cell(status, text=_training_text(part), share=training_share(part))
    if step == 1 and status == "done":
        update = getattr(part, "update", None)
        return Cell(status, seconds=update.training_s if update else _between(part.training_at, part.uploading_at))
    if step == 2 and status == "active":
        return Cell(status, share=part.bytes_sent / part.bytes_total if part.bytes_total else None, bytes=part.bytes_sent)
    if step == 2 and status == "done":
        return Cell(status, bytes=part.bytes_sent or part.bytes_total)
    return Cell(status)


def training_share(part: Participation) -> float | None:
    """How much of the local training is done; None while the agent has not said."""
    if not part.batches or not part.epochs:
        return None
    done = max(part.epoch - 1, 0) + part.batch / part.batches
    return min(done / part.epochs, 1.0)


def _training_text(part: Participation) -> str:
    if not part.batches:
        return ""
    if part.epochs == 1:
        return _("batch %(batch)s of %(batches)s") % {"batch": part.batch, "batches": part.batches}
    return _("epoch %(epoch)s of %(epochs)s") % {"epoch": max(part.epoch, 1), "epochs": part.epochs}


def _reason(
    part: Participation, phase: Phase, visible: bool, agents: dict[int, tuple[bool, datetime | None]], now: datetime
) -> tuple[str, datetime | None, str]:
    """Why a bank is not further: what it was refused for, or what is being waited for."""
    if part.problem and phase in (Phase.REJECTED, Phase.DROPPED):
        return (problem_sentence(part.problem), None, part.problem.get("action", "")) if visible else ("", None, "")
    if not visible or phase in (Phase.RECEIVED, Phase.ACCEPTED, Phase.LATE, Phase.DROPPED):
        return "", None, ""
    reason, since = away(part.seat, agents, now)
    if not reason and phase == Phase.INVITED:
        return _("Has not asked for the work yet; round open since"), part.round.opened_at, ""
    return reason, since, ""


def problem_sentence(problem: dict[str, str]) -> str:
    parts = [problem.get("code", "")]
    if problem.get("expected"):
        parts.append(_("expected %(what)s") % {"what": problem["expected"]})
    if problem.get("got"):
        parts.append(_("got %(what)s") % {"what": problem["got"]})
    return ": ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else parts[0]


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return max((end - start).total_seconds(), 0.0) if start and end else None
