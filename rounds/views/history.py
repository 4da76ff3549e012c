"""The auditor's history: every round of every run as one table to filter and export."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from institutions.models import Role
from institutions.permissions import require_role
from rounds.lifecycle import RoundState
from rounds.models import Round
from rounds.selectors.lists import round_rows
from rounds.selectors.scope import audience_of, visible_projects
from rounds.views.doors import Ordering, asked, ordering, page_of

ORDERS = {
    "opened": "opened_at",
    "run": "run__number",
    "round": "number",
    "state": "state",
    "updates": "update_count",
    "refused": "refused_count",
    "published": "published_at",
}
COLUMNS = (
    "project",
    "run",
    "run_id",
    "round",
    "attempt",
    "state",
    "opened_at",
    "closed_at",
    "published_at",
    "banks",
    "updates",
    "refused",
    "reason",
    "aggregation_digest",
)
MOST_EXPORTED = 100_000


def _filtered(request: HttpRequest) -> tuple[QuerySet[Round], Ordering, dict[str, str]]:
    filters = {"state": asked(request, "state", among=RoundState), "project": asked(request, "project")}
    order = ordering(request, ORDERS, "-opened")
    return order.apply(round_rows(audience_of(request.user), **filters)), order, filters


@require_GET
@require_role(Role.ADMINISTRATOR, Role.AUDITOR)
def history(request: HttpRequest) -> HttpResponse:
    rows, order, filters = _filtered(request)
    context = {
        "page": page_of(request, rows),
        "order": order,
        **filters,
        "states": list(RoundState),
        "projects": visible_projects(audience_of(request.user)),
        "query": request.GET.urlencode(),
    }
    return render(request, "rounds/history/list.html", context)


@require_GET
@require_role(Role.ADMINISTRATOR, Role.AUDITOR)
def history_csv(request: HttpRequest) -> StreamingHttpResponse:
    rows, _order, _filters = _filtered(request)
    response = StreamingHttpResponse(_lines(rows[:MOST_EXPORTED]), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="fedportal-rounds.csv"'
    return response


class _Echo:
    def write(self, value: str) -> str:
        return value


def _lines(rows: QuerySet[Round]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    for round_ in rows:
        yield writer.writerow([_cell(value) for value in _values(round_)])


def _values(round_: Any) -> list[Any]:
    run = round_.run
    return [
        run.plan.project.slug,
        run.number,
        run.pk,
        round_.number,
        round_.attempt,
        round_.state,
        round_.opened_at,
        round_.closed_at,
        round_.published_at,
        round_.bank_count,
        round_.update_count,
        round_.refused_count,
        round_.reason,
        round_.aggregation_digest,
    ]


def _cell(value: Any) -> Any:
    """A cell that a spreadsheet would run as a formula is quoted."""
    if hasattr(value, "isoformat"):
        return value.isoformat().replace("+00:00", "Z")
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value
