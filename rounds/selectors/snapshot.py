"""One run as one audience may see it at one instant: the first page and every push are drawn from this and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.http import Http404
from django.utils.functional import cached_property

from clientagent.wire.plan import Plan as PlanSchema
from rounds.lifecycle import RUN_ENDED, RunState
from rounds.models import Round, Run, Seat
from rounds.selectors.cohort_grid import CohortView, statistics_view
from rounds.selectors.events import Line
from rounds.selectors.grid import Grid, Scene, preparation_grid, round_grid
from rounds.selectors.headline import Headline, headline_of
from rounds.selectors.notice import Notice, notice_of
from rounds.selectors.reading import Reading, read
from rounds.selectors.scope import Audience

RIBBON_CELLS = 120


@dataclass(frozen=True)
class RibbonCell:
    number: int
    state: str
    seconds: float | None = None
    attempts: int = 1
    viewed: bool = False

    @property
    def element(self) -> str:
        return f"round-{self.number}"


@dataclass(frozen=True)
class Snapshot:
    reading: Reading = field(repr=False)
    run: Run
    plan: PlanSchema
    audience: Audience
    at: datetime
    rounds: list[Round]
    viewed: Round | None
    is_past: bool
    ribbon: list[RibbonCell]
    grid: Grid
    seats: list[Seat]
    attempts: list[Round]
    last_entry: int
    headline: Headline
    received: int
    bytes_up: int
    bytes_down: int
    bytes_plain: int
    cohort: CohortView | None = None
    places: dict[int, int] = field(repr=False, default_factory=dict)

    @property
    def state(self) -> RunState:
        return RunState(self.run.state)

    @property
    def has_ended(self) -> bool:
        return self.state in RUN_ENDED

    @property
    def total_rounds(self) -> int:
        return self.run.total_versions

    @cached_property
    def published(self) -> int:
        """The number of the last published round."""
        return max((round_.number for round_ in self.rounds if round_.state == "published"), default=0)

    @property
    def current_number(self) -> int:
        return self.rounds[-1].number if self.rounds else 0

    @property
    def is_closing(self) -> bool:
        """All rounds are done; the last version's evaluation is awaited."""
        return self.run.closing_at is not None and self.state == RunState.RUNNING

    @property
    def elapsed(self) -> timedelta | None:
        start = self.run.started_at
        return (self.run.ended_at or self.at) - start if start else None

    @cached_property
    def expected_left_s(self) -> float | None:
        """Seconds until the last round, at the pace of the last five published ones."""
        recent = [r for r in self.rounds if r.state == "published" and r.published_at][-5:]
        left = self.total_rounds - self.published
        if self.state != RunState.RUNNING or not recent or left <= 0:
            return None
        paces = [(r.published_at - r.opened_at).total_seconds() for r in recent if r.published_at]
        return left * sum(paces) / len(paces)

    @cached_property
    def events(self) -> list[Line]:
        """The run's latest entries, or those of the round that is looked back at. Read when they are drawn."""
        return self.reading.entries.to(self.audience)

    @property
    def notice(self) -> Notice | None:
        return notice_of(self.run, self.seats, self.audience)

    @property
    def until(self) -> datetime | None:
        """When the viewed round stops waiting: at the end of its cohort's stage, or of the round."""
        stage_until = self.cohort.deadline_at if self.cohort else None
        return stage_until or (self.viewed.deadline_at if self.viewed else None)

    @property
    def is_async(self) -> bool:
        return self.plan.schedule.mode == "async"

    @property
    def expected_updates(self) -> int:
        """How many updates the viewed round can have: one of each bank on the roster, or a full buffer."""
        if self.is_async:
            return self.viewed.needed if self.viewed else 0
        return sum(1 for row in self.grid.rows if row.kind == "phase")

    @property
    def approved(self) -> int:
        return sum(1 for seat in self.seats if seat.state not in ("invited", "refused"))

    @property
    def seated(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.state == "seated"]

    @property
    def acknowledged(self) -> int:
        return sum(1 for seat in self.seats if seat.acknowledged_at)

    @property
    def previous_number(self) -> int | None:
        return self._neighbour(-1)

    @property
    def next_number(self) -> int | None:
        return self._neighbour(1)

    def _neighbour(self, step: int) -> int | None:
        number = (self.viewed.number if self.viewed else 0) + step
        return number if 1 <= number <= self.current_number else None


def snapshot(run_id: uuid.UUID | str, audience: Audience, round_number: int | None = None) -> Snapshot:
    """Read everything that the run's page shows. ``round_number`` looks at a past round; None follows the run.

    Raises ``Http404`` for a run that the audience may not see.
    """
    return shown_to(audience, read(run_id, round_number))


def shown_to(audience: Audience, reading: Reading) -> Snapshot:
    """What one audience sees of a reading, in the language that is active. Raises ``Http404`` where it may see nothing."""
    if not reading.is_visible_to(audience):
        raise Http404
    run, viewed = reading.run, reading.viewed
    upto = viewed.number if reading.is_past and viewed else None
    return Snapshot(
        reading=reading,
        run=run,
        plan=run.plan.document,
        audience=audience,
        at=reading.at,
        rounds=reading.rounds,
        viewed=viewed,
        is_past=reading.is_past,
        ribbon=_ribbon(reading.rounds, run.total_versions, viewed),
        grid=_grid(reading, Scene(audience, reading.places, reading.agents, reading.at)),
        cohort=reading.cohort,
        seats=reading.seats,
        attempts=[r for r in reading.rounds if viewed and r.number == viewed.number and r.attempt < viewed.attempt],
        last_entry=reading.last_entry,
        headline=headline_of(run, reading.evaluated, audience, upto=upto),
        received=reading.traffic.received,
        bytes_up=reading.traffic.up,
        bytes_down=reading.traffic.down,
        bytes_plain=reading.traffic.plain,
        places=reading.places,
    )


def figures_key(snap: Snapshot) -> tuple[object, ...]:
    """Changes when the charts must be drawn anew."""
    return (*snap.reading.revision, len(snap.seats))


def _grid(reading: Reading, scene: Scene) -> Grid:
    run, viewed, seats = reading.run, reading.viewed, reading.seats
    if viewed is None:
        awaited = {RunState.PROPOSED: Seat.State.INVITED, RunState.PREPARING: Seat.State.APPROVED}
        masks = statistics_view(run) if run.plan.document.masks_statistics else None
        return preparation_grid(seats, scene, awaited=awaited.get(RunState(run.state)), cohort=masks)
    here = {part.institution_id for part in reading.participations}
    absent = [seat for seat in seats if seat.institution_id not in here]
    is_open = viewed.state == "open" and run.state not in RUN_ENDED
    return round_grid(reading.participations, absent, scene, is_open=is_open, cohort=reading.cohort)


def _ribbon(rounds: Sequence[Round], total: int, viewed: Round | None) -> list[RibbonCell]:
    """A cell for each round, past and ahead; of a long run the part around the viewed round."""
    latest: dict[int, Round] = {round_.number: round_ for round_ in rounds}
    middle = viewed.number if viewed else 1
    first = max(1, min(middle - RIBBON_CELLS // 2, total - RIBBON_CELLS + 1))
    cells = []
    for number in range(first, min(first + RIBBON_CELLS, total + 1)):
        round_ = latest.get(number)
        if round_ is None:
            cells.append(RibbonCell(number, "ahead"))
            continue
        end = round_.published_at or round_.closed_at
        seconds = (end - round_.opened_at).total_seconds() if end else None
        cells.append(RibbonCell(number, round_.state, seconds, round_.attempt, bool(viewed and viewed.number == number)))
    return cells
