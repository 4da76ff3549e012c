"""How a page's table keeps its filters, its order and its page in the URL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.paginator import Page, Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest

PAGE_SIZE = 25
M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class Ordering:
    """The order of a table: ``current`` is a column's name, with a minus for descending."""

    current: str
    fields: Mapping[str, str]

    def apply(self, rows: QuerySet[M]) -> QuerySet[M]:
        name = self.current.removeprefix("-")
        return rows.order_by(("-" if self.current.startswith("-") else "") + self.fields[name], "pk")


def ordering(request: HttpRequest, fields: Mapping[str, str], default: str) -> Ordering:
    wish = request.GET.get("order", default)
    return Ordering(wish if wish.removeprefix("-") in fields else default, fields)


def page_of(request: HttpRequest, rows: QuerySet[Any] | list[Any]) -> Page[Any]:
    return Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))


def asked(request: HttpRequest, name: str, *, among: Iterable[object] | None = None) -> str:
    """A filter's value from the URL; nothing where it is none of those offered."""
    value = request.GET.get(name, "").replace("\x00", "").strip()[:100]
    return value if among is None or value in [str(choice) for choice in among] else ""
