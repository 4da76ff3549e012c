"""The grid of banks and phases: for each bank of a round where it is, how far, and why it is not further."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from institutions.models import Agent
from institutions.saying import problem_sentence, said
from rounds.lifecycle import WORKING, Phase
from rounds.models import Participation, Seat, Update
from rounds.selectors.cohort_grid import CohortView, is_awaited
from rounds.selectors.cohort_grid import columns as cohort_columns
from rounds.selectors.scope import Audience

OFFLINE_AFTER = timedelta(seconds=60)
"""An agent's long poll lasts at most 25 seconds; one that was silent for longer than two of them is away."""

_REACHED = {
    Phase.INVITED: 0,
    Phase.PULLED: 1,
    Phase.TRAINING: 1,
    Phase.READY: 2,
    Phase.UPLOADING: 2,
    Phase.RECEIVED: 4,
    Phase.ACCEPTED: 4,
}
"""How many of the steps lie behind a bank in this phase."""

SLOW_AFTER = timedelta(seconds=5)
"""An agent that waits for work asks for it at once; only one that does not is worth a word."""


def presence_of(seen: datetime | None, now: datetime) -> str:
    """online, offline, or never."""
    if seen is None:
        return "never"
    return "offline" if now - seen > OFFLINE_AFTER else "online"


@dataclass(frozen=True)
class Cell:
    """One step of one bank. ``status``: done, active, waiting (for this very bank), ahead, bad or idle."""

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
    cells: tuple[Cell, ...]
    rows: int | None = None
    weight: float | None = None
    reason: str = ""
    since: datetime | None = None
    advice: str = ""
    waited_for: bool = False
    norm: float | None = None
    cosine: float | None = None
    train_loss: float | None = None

    @property
    def element(self) -> str:
        return f"bank-{self.slug}"


@dataclass(frozen=True)
class Grid:
    columns: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)

    @property
    def waiting(self) -> list[Row]:
        return [row for row in self.rows if row.waited_for]


Presence = Mapping[int, datetime | None]
"""When an approved agent of each institution was last heard; institutions without one are not in it."""


@dataclass(frozen=True)
class Scene:
    """What every row of a grid is drawn under: for whom, when, in which colours, and who is there."""

    audience: Audience
    places: Mapping[int, int]
    agents: Presence
    now: datetime

    def away(self, seat: Seat) -> tuple[str, datetime | None]:
        """Why nothing can come from this bank at the moment, and since when; an empty reason if it can."""
        if seat.institution.is_suspended:
            return _("The institution is suspended"), None
        if seat.institution_id not in self.agents:
            return _("No approved agent"), None
        seen = self.agents[seat.institution_id]
        if seen is None:
            return _("Its agent was never seen"), None
        return (_("Offline since"), seen) if presence_of(seen, self.now) == "offline" else ("", None)

    def row(self, seat: Seat, kind: str, state: str, cells: Iterable[Cell]) -> Row:
        institution = seat.institution
        return Row(
            institution.slug,
            institution.name,
            self.places.get(institution.pk, 0),
            self.audience.is_own(institution.pk),
            self.audience.sees_figures_of(institution.pk),
            kind,
            state,
            tuple(cells),
            rows=seat.rows,
            weight=seat.weight,
        )


def agents_of(seats: Sequence[Seat]) -> Presence:
    """For each institution of these seats that has an approved agent: when one was last heard."""
    found: dict[int, datetime | None] = {}
    rows = Agent.objects.filter(institution__in=[seat.institution_id for seat in seats], state=Agent.State.APPROVED)
    for institution_id, seen in rows.values_list("institution_id", "last_seen_at"):
        found[institution_id] = max((when for when in (found.get(institution_id), seen) if when), default=None)
    return found


# ------------------------------------------------------------------ before round 1
_SEAT_REACHED = {"invited": 0, "approved": 1, "counted": 2, "seated": 3}
_SEAT_BROKE_AT = {"refused": 0, "unfit": 1, "absent": 1, "dropped": 2}


def preparation_grid(
    seats: Sequence[Seat], scene: Scene, *, awaited: Seat.State | None, cohort: CohortView | None = None
) -> Grid:
    """Each bank's word on the plan, then its statistics. ``awaited`` is the state whose banks hold the run up.

    With a ``cohort`` (statistics under masks) a bank declares its rows, and the cohort's stages follow.
    """
    columns: tuple[str, ...] = (_("Approval"), _("Statistics"), _("Roster"))
    if cohort is not None:
        columns = _("Approval"), _("Rows"), _("Keys"), _("Shares"), _("Masked statistics"), _("Unmasking"), _("Roster")
        return Grid(columns, [_masked_seat_row(seat, scene, cohort, waited_for=seat.state == awaited) for seat in seats])
    return Grid(columns, [_seat_row(seat, scene, waited_for=seat.state == awaited) for seat in seats])


def _seat_row(seat: Seat, scene: Scene, *, waited_for: bool = False) -> Row:
    cells = [Cell(_seat_step(step, seat.state, waited_for=waited_for)) for step in range(3)]
    row = replace(scene.row(seat, "seat", seat.state, cells), waited_for=waited_for)
    if not row.visible:
        return row
    if seat.state in _SEAT_BROKE_AT:
        column = f"{seat.column}: " if seat.column and seat.column not in seat.reason else ""
        return replace(row, reason=column + said(seat.reason), advice=_advice(seat))
    reason, since = scene.away(seat) if waited_for else ("", None)
    if waited_for and not reason and seat.state == Seat.State.INVITED:
        reason = _("This bank has not approved the plan yet")
    return replace(row, reason=reason, since=since)


def _masked_seat_row(seat: Seat, scene: Scene, cohort: CohortView, *, waited_for: bool) -> Row:
    """The steps of a seat with the stages of the cohort that sums statistics between rows and roster."""
    slug = seat.institution.slug
    asked = cohort.awaits(slug) and seat.state == Seat.State.COUNTED
    row = _seat_row(seat, scene, waited_for=waited_for or asked)
    first, second, last = row.cells
    if seat.state == Seat.State.COUNTED or slug in cohort.members:
        second, last = Cell("done"), last if seat.state == Seat.State.SEATED else Cell("ahead" if cohort.is_live else "idle")
    return replace(row, cells=(first, second, *map(Cell, cohort.statuses(slug)), last))


def _seat_step(step: int, state: str, *, waited_for: bool) -> str:
    broke_at = _SEAT_BROKE_AT.get(state)
    if broke_at is not None:
        return "bad" if step == broke_at else "done" if step < broke_at else "ahead"
    reached = _SEAT_REACHED[state]
    return "done" if step < reached else "waiting" if step == reached and waited_for else "ahead"


def _advice(seat: Seat) -> str:
    if seat.state != Seat.State.UNFIT:
        return ""
    return _("Correct the named column at the bank, then start a new run; 'fedagent check' shows the same problem there.")


# ------------------------------------------------------------------ a round
def round_grid(
    participations: Sequence[Participation], absent: Sequence[Seat], scene: Scene, *, is_open: bool, cohort: CohortView | None = None
) -> Grid:
    """One round: model pulled, training, upload, outcome; then the banks that have no part in it, and why.

    With a ``cohort`` (secure aggregation) its stages stand in the place of the upload.
    """
    columns = (_("Model"), _("Training"), _("Upload"), _("Outcome")) if cohort is None else cohort_columns()
    rows = [_row(part, scene, is_open=is_open, cohort=cohort) for part in participations]
    return Grid(columns, rows + [replace(_seat_row(seat, scene), cells=(Cell("idle"),) * len(columns)) for seat in absent])


def _row(part: Participation, scene: Scene, *, is_open: bool, cohort: CohortView | None) -> Row:
    phase = Phase(part.phase)
    visible = scene.audience.sees_figures_of(part.institution_id)
    cells = _cells(part, phase, visible) if cohort is None else _masked_cells(part, phase, visible, cohort)
    row = scene.row(part.seat, "phase", part.phase, cells)
    waited_for = is_open and (phase in WORKING if cohort is None else is_awaited(part, cohort))
    if not visible:
        return replace(row, waited_for=waited_for)
    reason, since, advice = _reason(part, phase, scene) if is_open or part.problem else ("", None, "")
    update: Update | None = getattr(part, "update", None)
    if update is None:
        return replace(row, waited_for=waited_for, reason=reason, since=since, advice=advice)
    return replace(
        row,
        waited_for=waited_for,
        reason=reason,
        since=since,
        advice=advice,
        norm=update.norm,
        cosine=update.cosine,
        train_loss=update.train_loss,
        weight=part.seat.weight if update.weight is None else update.weight,
    )


def _cells(part: Participation, phase: Phase, visible: bool) -> list[Cell]:
    if phase in (Phase.REJECTED, Phase.LATE, Phase.DROPPED):
        reached = sum(1 for moment in (part.pulled_at, part.training_at, part.uploading_at) if moment)
        return [Cell("done" if step < reached else "idle") for step in range(3)] + [Cell("bad")]
    statuses = [_status(step, phase) for step in range(4)]
    return [_described(part, step, status) if visible else Cell(status) for step, status in enumerate(statuses)]


def _masked_cells(part: Participation, phase: Phase, visible: bool, cohort: CohortView) -> list[Cell]:
    """Model and training as ever, then the cohort's stages; the vector's size and progress are no secret of its bank."""
    is_out = phase in (Phase.REJECTED, Phase.LATE, Phase.DROPPED)
    marks = ["done" if part.ready_at else status for status in (_status(0, phase), _status(1, phase))] if not is_out else [
        "done" if moment else "idle" for moment in (part.training_at or part.ready_at, part.ready_at)
    ]
    first = [_described(part, step, status) if visible else Cell(status) for step, status in enumerate(marks)]
    stages = [Cell(status) for status in cohort.statuses(part.institution.slug)]
    update: Update | None = getattr(part, "update", None)
    if update is not None:
        stages[2] = replace(stages[2], bytes=update.bytes)
    outcome = "bad" if is_out else "done" if phase == Phase.ACCEPTED else "ahead"
    return [*first, *stages, Cell(outcome)]


def _status(step: int, phase: Phase) -> str:
    reached = _REACHED[phase]
    if step < reached:
        return "done"
    return "active" if step == reached and phase in (Phase.TRAINING, Phase.UPLOADING) else "ahead"


def _described(part: Participation, step: int, status: str) -> Cell:
    """Figures of a step, for those who may see them."""
    update: Update | None = getattr(part, "update", None)
    if step == 0 and status == "done":
        return Cell(status, seconds=_between(part.round.opened_at, part.pulled_at))
    if step == 1 and status == "active":
        return Cell(status, text=_training_text(part), share=training_share(part))
    if step == 1 and status == "done":
        until = part.ready_at or part.uploading_at
        return Cell(status, seconds=update.training_s if update else _between(part.training_at, until))
    if step == 2 and status == "active":
        share = min(part.bytes_sent / part.bytes_total, 1.0) if part.bytes_total else None
        return Cell(status, share=share, bytes=part.bytes_sent)
    if step == 2 and status == "done":
        return Cell(status, bytes=update.bytes if update else part.bytes_sent)
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


def _reason(part: Participation, phase: Phase, scene: Scene) -> tuple[str, datetime | None, str]:
    """Why a bank is not further: what it was refused for, or what is being waited for."""
    if part.problem and phase in (Phase.REJECTED, Phase.DROPPED):
        return problem_sentence(part.problem), None, said(part.problem.get("action", ""))
    if phase not in WORKING:
        return "", None, ""
    reason, since = scene.away(part.seat)
    if not reason and phase == Phase.INVITED and scene.now - part.round.opened_at > SLOW_AFTER:
        return _("Has not asked for the work yet; round open since"), part.round.opened_at, ""
    return reason, since, ""


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return max((end - start).total_seconds(), 0.0) if start and end else None
