"""Expenses of privacy taken together: grouped by mechanism, as an accountant wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from clientagent.wire.messages.privacy import Mechanism, PrivacyEvent


class Spending(NamedTuple):
    """Events as far as an accountant sees them: grouped, hashable, without an order."""

    groups: frozenset[tuple[Mechanism, int]]
    failure: float

    @property
    def nothing(self) -> bool:
        return not self.groups and not self.failure


def together(events: Iterable[PrivacyEvent], times: int = 1) -> Spending:
    """All events, each ``times`` times."""
    steps: Counter[Mechanism] = Counter()
    failures = []
    for event in events:
        steps[event.what] += event.steps * times
        failures.append(event.failure * times)
    return Spending(frozenset(steps.items()), sum(sorted(failures)))


def plus(*parts: Spending) -> Spending:
    steps: Counter[Mechanism] = Counter()
    for part in parts:
        for mechanism, count in part.groups:
            steps[mechanism] += count
    return Spending(frozenset(steps.items()), sum(sorted(part.failure for part in parts)))
