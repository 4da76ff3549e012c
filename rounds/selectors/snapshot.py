"""One run as one audience may see it at one instant: the first page and every push are drawn from this and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, OuterRef, Subquery, Sum
from django.utils import timezone
from django.utils.functional import cached_property

from audit.selectors import head_of
from clientagent.wire.plan import Plan as PlanSchema
from rounds.figures import palette
from rounds.lifecycle import RUN_ENDED, RunState
from rounds.models import Participation, Round, Run, Seat, Update
from rounds.selectors import series
from rounds.selectors.cohort_grid import CohortView, cohort_view
from rounds.selectors.events import Line, run_events
from rounds.selectors.grid import Grid, Scene, agents_of, preparation_grid, round_grid
from rounds.selectors.headline import Headline, headline_of
from rounds.selectors.notice import Notice, notice_of
from rounds.selectors.scope import Audience, run_for

RIBBON_CELLS = 120


@dataclass(frozen=True)
class RibbonCell:
    number: int
    state: str
    seconds: float | None = None
    attempts: int = 1
    viewed: bool = False


@dataclass(frozen=True)
class Snapshot:
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
        number = self.viewed.number if self.is_past and self.viewed else None
        return run_events(self.run.chain, self.audience, round_number=number)

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
    now = timezone.now()
    run = run_for(audience, run_id)
    places = palette.places()
    seats = list(run.seats.select_related("institution").defer("statistics"))
    rounds = list(run.rounds.defer("aggregation").order_by("number", "attempt"))
    viewed = _viewed(rounds, round_number)
    is_past = bool(viewed and round_number and (viewed is not rounds[-1]))
    scene = Scene(audience, places, agents_of(seats) if run.state not in RUN_ENDED else {}, now)
    received, up, down, plain = _traffic(viewed)
    is_masked = run.plan.document.privacy.secure_aggregation is not None
    cohort = cohort_view(viewed) if viewed and is_masked else None
    return Snapshot(
        run=run,
        plan=run.plan.document,
        audience=audience,
        at=now,
        rounds=rounds,
        viewed=viewed,
        is_past=is_past,
        ribbon=_ribbon(rounds, run.total_versions, viewed),
        grid=_grid(run, viewed, seats, scene, cohort, is_live=not is_past),
        cohort=cohort,
        seats=seats,
        attempts=[r for r in rounds if viewed and r.number == viewed.number and r.attempt < viewed.attempt],
        last_entry=head_of(run.chain)[0],
        headline=headline_of(run, audience, upto=viewed.number if is_past and viewed else None),
        received=received,
        bytes_up=up,
        bytes_down=down,
        bytes_plain=plain,
        places=places,
    )


def figures_key(snap: Snapshot) -> tuple[object, ...]:
    """Changes when the charts must be drawn anew."""
    return (*series.revision(snap.run), len(snap.seats))


def _viewed(rounds: Sequence[Round], number: int | None) -> Round | None:
    """The last attempt at the asked round; the run's latest round otherwise."""
    asked = [round_ for round_ in rounds if round_.number == number]
    return (asked or list(rounds))[-1] if rounds else None


def _grid(
    run: Run, viewed: Round | None, seats: Sequence[Seat], scene: Scene, cohort: CohortView | None, *, is_live: bool
) -> Grid:
    if viewed is None:
        awaited = {RunState.PROPOSED: Seat.State.INVITED, RunState.PREPARING: Seat.State.APPROVED}
        return preparation_grid(seats, scene, awaited=awaited.get(RunState(run.state)))
    parts = _participations(viewed, run, is_live=is_live)
    here = {part.institution_id for part in parts}
    absent = [seat for seat in seats if seat.institution_id not in here]
    is_open = viewed.state == "open" and run.state not in RUN_ENDED
    return round_grid(parts, absent, scene, is_open=is_open, cohort=cohort)


def _participations(round_: Round, run: Run, *, is_live: bool) -> list[Participation]:
    """Each bank's work in a round. Async has no banks of a round: the newest work of each, or what went into a past version."""
    rows = Participation.objects.select_related("seat__institution", "update", "round").order_by("institution__slug", "slot")
    rows = rows.defer("order", "update__manifest", "seat__statistics", "round__aggregation")
    if not run.is_async:
        rows = rows.filter(round=round_)
    elif is_live:
        newest = Participation.objects.filter(seat=OuterRef("pk")).order_by("-round__number", "-slot").values("pk")[:1]
        rows = rows.filter(pk__in=run.seats.annotate(newest=Subquery(newest)).values("newest"))
    else:
        rows = rows.filter(update__into=round_)
    return list({part.institution_id: part for part in rows}.values())


def _traffic(round_: Round | None) -> tuple[int, int, int, int]:
    """Updates that count in a round so far, their bytes, what went down in it, and what the updates take without a codec."""
    if round_ is None:
        return 0, 0, 0, 0
    up = Update.objects.filter(into=round_).aggregate(count=Count("pk"), bytes=Sum("bytes"), plain=Sum("plain_bytes"))
    down = Participation.objects.filter(round=round_).aggregate(bytes=Sum("bytes_down"))
    return up["count"], up["bytes"] or 0, down["bytes"] or 0, up["plain"] or 0


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
