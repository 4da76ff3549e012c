"""One run as its rows say at one instant, for nobody in particular: what every view of it is drawn from, read once for all of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.models import Count, OuterRef, Subquery, Sum
from django.http import Http404
from django.utils import timezone
from django.utils.functional import cached_property

from audit.selectors import head_of
from rounds.figures import palette
from rounds.lifecycle import RUN_ENDED
from rounds.models import ModelVersion, Participation, Round, Run, Seat, Update
from rounds.selectors import series
from rounds.selectors.cohort_grid import CohortView, cohort_view
from rounds.selectors.events import Told, run_entries
from rounds.selectors.grid import Presence, agents_of
from rounds.selectors.headline import evaluated
from rounds.selectors.scope import Audience


class Traffic(NamedTuple):
    """Updates that count in a round so far, their bytes, what went down in it, and what the updates take without a codec."""

    received: int = 0
    up: int = 0
    down: int = 0
    plain: int = 0


@dataclass(frozen=True)
class Reading:
    """``viewed`` is the round that is looked at: the last one, or the one asked for (``is_past``)."""

    run: Run
    at: datetime
    seats: list[Seat]
    agents: Presence
    rounds: list[Round]
    viewed: Round | None
    is_past: bool
    participations: list[Participation]
    traffic: Traffic
    cohort: CohortView | None
    last_entry: int
    places: dict[int, int]

    def is_visible_to(self, audience: Audience) -> bool:
        """As ``scope.visible_runs`` says of many."""
        return audience.sees_all or any(audience.is_own(seat.institution_id) for seat in self.seats)

    @property
    def _past_number(self) -> int | None:
        return self.viewed.number if self.is_past and self.viewed else None

    @cached_property
    def entries(self) -> Told:
        """The run's latest entries, or those of the round that is looked back at."""
        return run_entries(self.run.chain, round_number=self._past_number)

    @cached_property
    def evaluated(self) -> list[ModelVersion]:
        return evaluated(self.run, upto=self._past_number)

    @cached_property
    def revision(self) -> tuple[object, ...]:
        return series.revision(self.run)


def read(run_id: uuid.UUID | str, round_number: int | None = None) -> Reading:
    """``round_number`` looks at a past round; None follows the run. Raises ``Http404`` where there is no such run."""
    now = timezone.now()
    run = Run.objects.select_related("plan__project", "selected").defer("preprocessing", "plan__signed").filter(pk=run_id).first()
    if run is None:
        raise Http404
    seats = list(run.seats.select_related("institution").defer("statistics"))
    rounds = list(run.rounds.filter(only_counts=False).defer("aggregation").order_by("number", "attempt"))
    viewed = _viewed(rounds, round_number)
    is_past = bool(viewed and round_number and (viewed is not rounds[-1]))
    is_masked = run.plan.document.privacy.secure_aggregation is not None
    return Reading(
        run, now, seats, agents_of(seats) if run.state not in RUN_ENDED else {}, rounds, viewed, is_past,
        _participations(viewed, run, is_live=not is_past) if viewed else [], _traffic(viewed),
        cohort_view(viewed) if viewed and is_masked else None, head_of(run.chain)[0], palette.places(),
    )  # fmt: skip


def _viewed(rounds: Sequence[Round], number: int | None) -> Round | None:
    """The last attempt at the asked round; the run's latest round otherwise."""
    asked = [round_ for round_ in rounds if round_.number == number]
    return (asked or list(rounds))[-1] if rounds else None


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


def _traffic(round_: Round | None) -> Traffic:
    if round_ is None:
        return Traffic()
    up = Update.objects.filter(into=round_).aggregate(count=Count("pk"), bytes=Sum("bytes"), plain=Sum("plain_bytes"))
    down = Participation.objects.filter(round=round_).aggregate(bytes=Sum("bytes_down"))
    return Traffic(up["count"], up["bytes"] or 0, down["bytes"] or 0, up["plain"] or 0)
