"""One expense of privacy, as both sides record it: which mechanism ran, on what, how often. Epsilon is not part of it.

Epsilon is computed from all events together (see ``accounting``): the epsilons of single events do not add up to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from clientagent.wire.messages import Digest, Message

Kind = Literal["dp_sgd", "gaussian", "discrete_gaussian"]
Unit = Literal["record", "institution"]


class Mechanism(NamedTuple):
    """What an accountant needs to know; events that are equal in it are counted together before they are composed."""

    kind: Kind
    noise_multiplier: float
    sampling_rate: float


class PrivacyEvent(Message):
    """``steps`` runs of one mechanism whose noise has ``noise_multiplier`` times the sensitivity ``clip``.

    ``adjacency`` zero_out: neighbours differ in one unit whose contribution is replaced by nothing. ``delta`` is what the plan
    allows for the whole run; ``failure`` is spent of it by what no noise covers (a category's name that passed its threshold).
    """

    release: Digest
    mechanism: Kind
    unit: Unit
    adjacency: Literal["zero_out"] = "zero_out"
    noise_multiplier: Annotated[float, Field(gt=0, le=1e6)]
    sampling_rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    steps: Annotated[int, Field(ge=1, le=10**9)] = 1
    clip: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1e-2)]
    failure: Annotated[float, Field(ge=0, lt=1e-2)] = 0.0
    base_digest: Digest | None = None
    accountant: str

    @property
    def what(self) -> Mechanism:
        return Mechanism(self.mechanism, self.noise_multiplier, self.sampling_rate)


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
