"""One run as one audience may see it at one instant: the first page and every push are drawn from this and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Sum
from django.utils import timezone
from django.utils.functional import cached_property

from clientagent.wire.plan import Plan as PlanSchema
from rounds import palette
from rounds.lifecycle import RUN_ENDED, RunState
from rounds.models import Evaluation, ModelVersion, Participation, Round, Run, Seat
from rounds.selectors import series
from rounds.selectors.events import Line, run_events
from rounds.selectors.grid import Grid, Scene, agents_of, preparation_grid, round_grid
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
class Figures:
    """Metrics of one version for one holder; ``change`` is against the version before."""

    auc: float | None = None
    ks: float | None = None
    loss: float | None = None
    auc_change: float | None = None


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
    events: list[Line]
    pooled: Figures
    own: Figures | None
    version: ModelVersion | None
    bytes_up: int
    bytes_down: int
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

    @property
    def notice(self) -> Notice | None:
        return notice_of(self.run, self.seats, self.audience)

    @property
    def received(self) -> int:
        """Banks of the viewed round whose update is in."""
        return sum(1 for row in self.grid.rows if row.kind == "phase" and row.state in ("received", "accepted"))

    @property
    def on_roster(self) -> int:
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
    versions = {version.number: version for version in _versions(run, viewed)}
    version = _shown_version(versions, viewed, is_past)
    scene = Scene(audience, places, agents_of(seats) if run.state not in RUN_ENDED else {}, now)
    up, down = _bytes(viewed)
    return Snapshot(
        run=run,
        plan=run.plan.document,
        audience=audience,
        at=now,
        rounds=rounds,
        viewed=viewed,
        is_past=is_past,
        ribbon=_ribbon(rounds, run.total_versions, viewed),
        grid=_grid(run, viewed, seats, scene),
        seats=seats,
        attempts=[r for r in rounds if viewed and r.number == viewed.number and r.attempt < viewed.attempt],
        events=run_events(run.chain, audience, round_number=viewed.number if is_past and viewed else None),
        pooled=_pooled(version, versions),
        own=_own(version, audience),
        version=version,
        bytes_up=up,
        bytes_down=down,
        places=places,
    )


def figures_key(snap: Snapshot) -> tuple[object, ...]:
    """Changes when the charts must be drawn anew."""
    return (*series.revision(snap.run), len(snap.seats))


def _viewed(rounds: Sequence[Round], number: int | None) -> Round | None:
    """The last attempt at the asked round; the run's latest round otherwise."""
    asked = [round_ for round_ in rounds if round_.number == number]
    return (asked or list(rounds))[-1] if rounds else None


def _versions(run: Run, viewed: Round | None) -> list[ModelVersion]:
    """The pooled versions that the header compares: the one shown and the one before it."""
    rows = run.versions.filter(pooled__isnull=False)
    if viewed is not None:
        rows = rows.filter(number__lte=viewed.number)
    return list(rows.order_by("-number")[:2])


def _shown_version(versions: dict[int, ModelVersion], viewed: Round | None, is_past: bool) -> ModelVersion | None:
    if is_past and viewed:
        return versions.get(viewed.number)
    return versions[max(versions)] if versions else None


def _grid(run: Run, viewed: Round | None, seats: Sequence[Seat], scene: Scene) -> Grid:
    if viewed is None:
        awaited = {RunState.PROPOSED: Seat.State.INVITED, RunState.PREPARING: Seat.State.APPROVED}
        return preparation_grid(seats, scene, awaited=awaited.get(RunState(run.state)))
    parts = _participations(viewed)
    here = {part.institution_id for part in parts}
    absent = [seat for seat in seats if seat.institution_id not in here]
    return round_grid(parts, absent, scene, is_open=viewed.state == "open" and run.state not in RUN_ENDED)


def _participations(round_: Round) -> list[Participation]:
    """Each bank's newest work in a round, without the long documents."""
    rows = Participation.objects.filter(round=round_).select_related("seat__institution", "update")
    rows = rows.defer("order", "update__manifest", "seat__statistics").order_by("institution__slug", "slot")
    newest = {part.institution_id: part for part in rows}
    for part in newest.values():
        part.round = round_
    return list(newest.values())


def _bytes(round_: Round | None) -> tuple[int, int]:
    """Bytes up and down in a round so far."""
    if round_ is None:
        return 0, 0
    sums = Participation.objects.filter(round=round_).aggregate(up=Sum("update__bytes"), down=Sum("bytes_down"))
    return sums["up"] or 0, sums["down"] or 0


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


def _pooled(version: ModelVersion | None, versions: dict[int, ModelVersion]) -> Figures:
    if version is None or not version.pooled:
        return Figures()
    now, earlier = version.pooled, next((v.pooled for n, v in versions.items() if n < version.number), None)
    auc, before = now["holdout"].get("auc"), earlier["holdout"].get("auc") if earlier else None
    change = auc - before if auc is not None and before is not None else None
    return Figures(auc, now["holdout"].get("ks"), now["validation"].get("loss"), change)


def _own(version: ModelVersion | None, audience: Audience) -> Figures | None:
    """An operator's own figures of the version shown."""
    if version is None or audience.institution_id is None:
        return None
    row = (
        Evaluation.objects.filter(version=version, institution=audience.institution_id)
        .values_list("validation", "holdout")
        .first()
    )
    return Figures(row[1].get("auc"), row[1].get("ks"), row[0].get("loss")) if row else None
