"""What every view here shares: who asks, refusals said to people, filters and order kept in the URL."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils.translation import gettext as _

from clientagent.wire.errors import Refusal

PAGE_SIZE = 25


@dataclass(frozen=True)
class Ordering:
    """The order of a table: ``current`` is a column's name, with a minus for descending."""

    current: str
    fields: Mapping[str, str]

    def apply(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        name = self.current.removeprefix("-")
        return rows.order_by(("-" if self.current.startswith("-") else "") + self.fields[name], "pk")


def ordering(request: HttpRequest, fields: Mapping[str, str], default: str) -> Ordering:
    asked = request.GET.get("order", default)
    return Ordering(asked if asked.removeprefix("-") in fields else default, fields)


def page_of(request: HttpRequest, rows: QuerySet[Any] | list[Any]) -> Page[Any]:
    return Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))


def asked(request: HttpRequest, name: str, *, among: Any = None) -> str:
    """A filter's value from the URL; nothing where it is none of those offered."""
    value = request.GET.get(name, "").strip()[:100]
    return value if among is None or value in [str(choice) for choice in among] else ""


def say_refusal(request: HttpRequest, refusal: Refusal) -> None:
    """A typed refusal as a message: what was expected, what came, what to do."""
    parts = [
        _("Expected %(what)s.") % {"what": refusal.expected} if refusal.expected else "",
        _("Got %(what)s.") % {"what": refusal.got} if refusal.got else "",
        refusal.action,
    ]
    messages.error(request, " ".join(part for part in parts if part))


def back_on_refusal(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A POST that is refused leads back to where it came from, with the reason."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Refusal as refusal:
            say_refusal(request, refusal)
            return redirect(_way_back(request))

    return guarded


def _way_back(request: HttpRequest) -> str:
    """Where a refused POST came from: its page, for paths of this site only."""
    path = request.POST.get("back", "")
    return path if path.startswith("/") and not path.startswith("//") and "\\" not in path else "/"
