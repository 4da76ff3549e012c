"""When agents were last seen. On a busy portal many are noted in one transaction: a write each would queue before the updates."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid

from django.db import transaction
from django.db.models import Q

from institutions.models import Agent

EVERY = dt.timedelta(seconds=10)
"""How often one agent is noted."""
AWAY = dt.timedelta(seconds=60)
"""One that comes back after so long is noted at once: somebody may be looking out for it."""
TOGETHER_S = 0.5
"""How long a note may wait for others. It is lost with its process; the agent's next request makes it good."""

_lock = threading.Lock()
_waiting: dict[uuid.UUID, dict[str, object]] = {}
_written_at = 0.0


def is_noted(agent: Agent, *, now: dt.datetime) -> bool:
    return agent.last_seen_at is not None and abs(now - agent.last_seen_at) < EVERY


def note(agent: Agent, *, now: dt.datetime, clock_skew_s: int, protocol: int, version: str) -> None:
    """This agent made a request of this version and protocol, by a clock that is so many seconds ahead."""
    with _lock:
        _waiting[agent.pk] = {"last_seen_at": now, "clock_skew_s": clock_skew_s, "protocol": protocol, "version": version}
    if agent.last_seen_at is None or abs(now - agent.last_seen_at) > AWAY or time.monotonic() - _written_at > TOGETHER_S:
        _write()


def _write() -> None:
    global _written_at
    with _lock:
        notes = dict(_waiting)
        _waiting.clear()
        _written_at = time.monotonic()
    with transaction.atomic():
        for pk, fields in notes.items():
            now = fields["last_seen_at"]
            stale = Q(last_seen_at=None) | Q(last_seen_at__lte=now - EVERY) | Q(last_seen_at__gt=now + EVERY)  # type: ignore[operator]
            Agent.objects.filter(stale, pk=pk).update(**fields)
