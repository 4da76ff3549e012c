"""The time as rounds use it: the portal's clock, and instants as the wire writes them."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    return timezone.now()


def utc(moment: datetime) -> str:
    """ISO 8601 in UTC, milliseconds, with a ``Z``."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_overdue(deadline: datetime | None, moment: datetime) -> bool:
    return deadline is not None and moment >= deadline
