"""What a monitor counts about rounds: from the tables, so that any process says the same, and this process's own waiters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Min, Sum
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import CounterMetricFamily, Metric, SummaryMetricFamily

from audit.models import Entry
from rounds import live
from rounds.clock import now
from rounds.lifecycle import RoundState, RunState
from rounds.models import Round, Run, Update

PREFIX = "fedportal"


def families(*, moment: datetime | None = None) -> Iterator[Metric]:
    yield _states("runs", "Runs by state.", [str(state) for state in RunState], Run)
    yield _states("rounds", "Attempts at rounds by state.", [str(state) for state in RoundState], Round)
    yield _durations()
    totals = Update.objects.aggregate(n=Count("pk"), bytes=Sum("bytes"))
    yield CounterMetricFamily(f"{PREFIX}_updates", "Accepted updates.", value=totals["n"])
    yield CounterMetricFamily(f"{PREFIX}_update_bytes", "Bytes of accepted updates.", value=totals["bytes"] or 0)
    yield _refusals()
    yield GaugeMetricFamily(f"{PREFIX}_engine_lag_seconds", _LAG, value=engine_lag_s(moment or now()))
    yield from _waiters()


_LAG = "For how long the oldest closed round without a worker, or the longest overdue open one, has waited for the engine."


def engine_lag_s(moment: datetime) -> float:
    running = Round.objects.filter(run__state=RunState.RUNNING)
    since = [
        Round.objects.filter(state=RoundState.CLOSING).aggregate(at=Min("closed_at"))["at"],
        Round.objects.filter(state=RoundState.AGGREGATING, lease_until__lt=moment).aggregate(at=Min("lease_until"))["at"],
        running.filter(state=RoundState.OPEN, deadline_at__lt=moment).aggregate(at=Min("deadline_at"))["at"],
    ]
    return max(((moment - at).total_seconds() for at in since if at is not None), default=0.0)


def _states(name: str, text: str, states: list[str], model: type[Run] | type[Round]) -> Metric:
    counts = dict(model.objects.order_by().values_list("state").annotate(n=Count("pk")))
    family = GaugeMetricFamily(f"{PREFIX}_{name}", text, labels=["state"])
    for state in states:
        family.add_metric([state], counts.get(state, 0))
    return family


def _durations() -> Metric:
    family = SummaryMetricFamily(f"{PREFIX}_round_stage_seconds", "Seconds of published rounds by stage.", labels=["stage"])
    published = Round.objects.filter(state=RoundState.PUBLISHED)
    for stage, begin, end in (("collecting", "opened_at", "closed_at"), ("aggregating", "closed_at", "published_at")):
        span = ExpressionWrapper(F(end) - F(begin), output_field=DurationField())
        row = published.aggregate(mean=Avg(span), n=Count("pk"))
        total = row["mean"].total_seconds() * row["n"] if row["n"] else 0.0
        family.add_metric([stage], row["n"], total)
    return family


def _refusals() -> Metric:
    """Those on the ledger: of agents that were who they said. Strangers are counted by the proxy's log."""
    family = CounterMetricFamily(f"{PREFIX}_refusals", "Refusals on the ledger by code.", labels=["code"])
    rows = Entry.objects.filter(kind__in=("update_refused", "work_refused")).order_by()
    for code, count in rows.values_list("body__code").annotate(n=Count("pk")):
        family.add_metric([str(code)], count)
    return family


def _waiters() -> Iterator[Metric]:
    """Of the process that answers: behind several, each is scraped at its own address, or their sum is unknown."""
    agents, sockets = live.waiting_here()
    yield GaugeMetricFamily(f"{PREFIX}_waiting_agents", "Agents' long polls waiting in this process.", value=agents)
    yield GaugeMetricFamily(f"{PREFIX}_watchers", "Browsers' views of runs watched in this process.", value=sockets)
