"""The numbers behind a run's charts, by round: metrics of each bank that the audience may see, bytes and durations."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Max, Q, Sum

from rounds.models import Evaluation, ModelVersion, Run, Update
from rounds.selectors.scope import Audience

METRICS = {"auc": "holdout", "ks": "holdout", "loss": "validation"}
"""Which split each chart shows: the hold-out reports, validation chooses the result."""


@dataclass(frozen=True)
class Trace:
    """One line of a chart: a bank's, or the pooled one (``institution_id`` None)."""

    name: str
    institution_id: int | None
    own: bool
    values: dict[int, float | None]


@dataclass(frozen=True)
class RoundCost:
    """What a published round took, split where the portal can tell: seconds and bytes."""

    number: int
    waiting_s: float
    training_s: float
    rest_s: float
    aggregating_s: float
    bytes_up: int
    bytes_down: int

    @property
    def seconds(self) -> float:
        return self.waiting_s + self.training_s + self.rest_s + self.aggregating_s


@dataclass(frozen=True)
class Series:
    metrics: dict[str, list[Trace]] = field(default_factory=dict)
    costs: list[RoundCost] = field(default_factory=list)
    selected: int | None = None


def revision(run: Run) -> tuple[object, ...]:
    """Changes when the charts do, once a round: a bank's figures are drawn with the version that they belong to."""
    latest = run.versions.aggregate(version=Max("number"), pooled=Max("number", filter=Q(pooled__isnull=False)))
    return latest["version"], latest["pooled"], run.selected_id, run.state


def series_of(run: Run, audience: Audience) -> Series:
    return Series(_metrics(run, audience), _costs(run), run.selected.number if run.selected else None)


def _metrics(run: Run, audience: Audience) -> dict[str, list[Trace]]:
    rows = Evaluation.objects.filter(version__run=run)
    if not audience.sees_all:
        rows = rows.filter(institution=audience.institution_id)
    banks: dict[tuple[int, str], dict[int, tuple[dict[str, Any], dict[str, Any]]]] = defaultdict(dict)
    columns = ("institution_id", "institution__name", "version__number", "validation", "holdout")
    for pk, name, number, validation, holdout in rows.order_by("institution__slug", "version__number").values_list(*columns):
        banks[pk, name][number] = (validation, holdout)
    pooled = {
        number: (value.get("validation") or {}, value.get("holdout") or {})
        for number, value in ModelVersion.objects.filter(run=run, pooled__isnull=False).values_list("number", "pooled")
        if value
    }
    return {metric: _traces(metric, banks, pooled, audience) for metric in METRICS}


def _traces(metric: str, banks: dict[Any, Any], pooled: dict[int, Any], audience: Audience) -> list[Trace]:
    at = 0 if METRICS[metric] == "validation" else 1
    traces = [
        Trace(name, pk, audience.is_own(pk), {number: pair[at].get(metric) for number, pair in sorted(found.items())})
        for (pk, name), found in banks.items()
    ]
    if pooled:
        traces.append(Trace("", None, False, {number: pair[at].get(metric) for number, pair in sorted(pooled.items())}))
    return [trace for trace in traces if any(value is not None for value in trace.values.values())]


def _costs(run: Run) -> list[RoundCost]:
    sums = {
        row["into"]: row
        for row in Update.objects.filter(into__run=run, weight__isnull=False)
        .values("into")
        .annotate(
            up=Sum("bytes"),
            slowest=Max("training_s"),
            pulled=Max("participation__pulled_at"),
            down=Sum("participation__bytes_down"),
        )
    }
    costs = []
    for round_ in run.rounds.filter(state="published", only_counts=False).defer("aggregation").order_by("number"):
        row = sums.get(round_.pk)
        if row is None or round_.closed_at is None or round_.published_at is None:
            continue
        collecting = (round_.closed_at - round_.opened_at).total_seconds()
        waiting = min(max((row["pulled"] - round_.opened_at).total_seconds(), 0.0) if row["pulled"] else 0.0, collecting)
        training = min(row["slowest"] or 0.0, collecting - waiting)
        costs.append(
            RoundCost(
                round_.number,
                waiting,
                training,
                collecting - waiting - training,
                (round_.published_at - round_.closed_at).total_seconds(),
                row["up"] or 0,
                row["down"] or 0,
            )
        )
    return costs
