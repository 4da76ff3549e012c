"""What a privacy ledger's entries add up to: which runs hold an allotment, which releases left, what that costs and may cost.

Moves. A run is allotted, once, everything that it may need; within the allotment a release is reserved before training, then
committed when its first byte leaves, or released if nothing left. A closed run frees what it did not use. Whatever is reserved
counts as spent: a crash can make a release look unspent that is not, never the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from clientagent.wire.canonical import digest_of
from clientagent.wire.errors import BudgetExceeded, IllegalMove, LedgerBroken, Refusal
from clientagent.wire.ledger import Entry
from clientagent.wire.messages import Count, Digest, Id, Message, Text
from clientagent.wire.messages.privacy import PrivacyEvent, SpentRelease, Unit
from clientagent.wire.phrases import phrase
from clientagent.wire.plan import Slug
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.events import Spending, plus, together
from clientagent.wire.privacy.terms import RecordTerms
from clientagent.wire.signing import parse

ROUNDING = 1 + 1e-9
RECORD_DELTA, BANK_DELTA = 1e-6, 1e-5
"""Delta of a ledger in which no plan has promised one yet."""


class Fact(StrEnum):
    """Kinds of entries."""

    ALLOTTED = "allotted"
    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"
    CLOSED = "closed"
    RECONCILED = "reconciled"


class Allotted(Message):
    """All that a run may spend: the statistics' event, and ``updates`` times the event of an update."""

    run: Id
    project: Slug
    plan_hash: Digest
    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1e-2)]
    updates: Count
    statistics: PrivacyEvent | None
    update: PrivacyEvent

    @property
    def spending(self) -> Spending:
        return plus(together([self.statistics] if self.statistics else []), together([self.update], self.updates))

    def allows(self, event: PrivacyEvent) -> bool:
        """Whether a release is of the kind that was allotted: only its name and its base version are its own.

        And of a bank as a whole its clip, which may adapt: noise is relative to it, so it costs the same.
        """
        kinds = [self.update, self.statistics] if self.statistics else [self.update]
        own: dict[str, object] = {"release": event.release, "base_digest": event.base_digest}
        if self.update.unit == "institution":
            own["clip"] = event.clip
        return any(event == kind.model_copy(update=own) for kind in kinds)


class Reserved(Message):
    run: Id
    event: PrivacyEvent


class Settled(Message):
    """A release that left (committed) or that did not and never will (released)."""

    run: Id
    release: Digest
    reason: Text = ""


class Closed(Message):
    run: Id
    reason: Text = ""


class Reconciled(Message):
    """A person's word after the two sides disagreed: what is charged for entries that were lost."""

    by: Text
    reason: Text
    epoch: Count
    charged: list[SpentRelease] = Field(max_length=100_000)


BODIES: dict[Fact, type[Message]] = {
    Fact.ALLOTTED: Allotted, Fact.RESERVED: Reserved, Fact.COMMITTED: Settled, Fact.RELEASED: Settled, Fact.CLOSED: Closed,
    Fact.RECONCILED: Reconciled,
}  # fmt: skip


@dataclass
class RunBook:
    """One run's allotment and its releases: name to (event, whether it left)."""

    allotted: Allotted
    releases: dict[str, tuple[PrivacyEvent, bool]] = field(default_factory=dict)
    closed: bool = False

    @property
    def events(self) -> list[PrivacyEvent]:
        return [event for event, _ in self.releases.values()]

    @property
    def updates(self) -> int:
        return sum(event.base_digest is not None for event in self.events)

    def require_room(self) -> None:
        """Raises ``BudgetExceeded`` where every update that was allotted is booked, ``IllegalMove`` for a run that is closed."""
        _require(not self.closed, "an open run", self.allotted.run)
        if self.updates >= self.allotted.updates:
            raise BudgetExceeded(expected=f"at most {self.allotted.updates} updates in this run", got="one more")

    @property
    def promised(self) -> Spending:
        has_more = self.closed or self.updates > self.allotted.updates
        return together(self.events) if has_more else self.allotted.spending

    @property
    def epsilon(self) -> float:
        """What the run has cost so far, at its own delta."""
        return epsilon_of(together(self.events), self.allotted.delta)

    def epsilon_without(self, release: str) -> float:
        """What it had cost without one of its releases."""
        others = [event for name, (event, _) in self.releases.items() if name != release]
        return epsilon_of(together(others), self.allotted.delta)


class Book:
    """The state after some entries. Every method that changes it checks first: an illegal move changes nothing."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.runs: dict[str, RunBook] = {}
        self.charged: list[PrivacyEvent] = []
        self.epoch = 0
        for entry in entries:
            try:
                self.apply(Fact(entry.kind), parse(BODIES[Fact(entry.kind)], entry.body))
            except (Refusal, ValueError) as error:
                raise LedgerBroken(expected=f"a legal entry {entry.seq} of {entry.chain}", got=str(error)[:300]) from error

    # -------------------------------------------------------------------- moves
    def apply(self, fact: Fact, body: Message) -> None:
        """Raises ``IllegalMove`` and ``BudgetExceeded`` (of the run's own allotment)."""
        match body:
            case Allotted():
                _require(body.run not in self.runs, "a run without an allotment", body.run)
                self.runs[body.run] = RunBook(body)
            case Reserved():
                self._reserve(self.run(body.run), body.event)
            case Settled():
                self._settle(self.run(body.run), body.release, left=fact is Fact.COMMITTED)
            case Closed():
                run = self.run(body.run)
                _require(not run.closed and all(left for _, left in run.releases.values()), "an open run, all settled", body.run)
                run.closed = True
            case Reconciled():
                _require(body.epoch == self.epoch + 1, f"reconciliation {self.epoch + 1}", str(body.epoch))
                self.epoch = body.epoch
                for spent in body.charged:
                    self._charge(spent)

    def _charge(self, spent: SpentRelease) -> None:
        if spent.run in self.runs:
            self.runs[spent.run].releases[spent.event.release] = spent.event, True
        else:
            self.charged.append(spent.event)

    def run(self, run: str) -> RunBook:
        _require(run in self.runs, "a run with an allotment", run)
        return self.runs[run]

    def _reserve(self, run: RunBook, event: PrivacyEvent) -> None:
        _require(not run.closed, "an open run", run.allotted.run)
        _require(event.release not in run.releases, "a release that is not booked yet", event.release)
        if not run.allotted.allows(event):
            got = f"noise {event.noise_multiplier}, {event.steps} steps"
            raise BudgetExceeded(expected="a release as it was allotted", got=got)
        if event.base_digest is not None:
            run.require_room()
        if event.base_digest is None and any(known.base_digest is None for known in run.events):
            raise BudgetExceeded(expected="statistics once in a run", got="statistics again")
        run.releases[event.release] = event, False

    def _settle(self, run: RunBook, release: str, *, left: bool) -> None:
        _require(release in run.releases, "a reserved release", release)
        event, has_left = run.releases[release]
        _require(not has_left, "a release that is still reserved", release)
        if left:
            run.releases[release] = event, True
        else:
            del run.releases[release]

    # -------------------------------------------------------------------- sums
    @property
    def spent(self) -> Spending:
        """What left, and what is reserved."""
        return plus(together(self.charged), *(together(run.events) for run in self.runs.values()))

    @property
    def promised(self) -> Spending:
        """What is spent when all open runs use their whole allotments."""
        return plus(together(self.charged), *(run.promised for run in self.runs.values()))

    @property
    def delta(self) -> float:
        """The smallest delta that any run was promised: all are stated at it together."""
        return self.delta_with()

    @property
    def any_event(self) -> PrivacyEvent | None:
        """All of a ledger's events are about the same unit."""
        return next((run.allotted.update for run in self.runs.values()), next(iter(self.charged), None))

    def delta_with(self, allotted: Allotted | None = None) -> float:
        stated = [run.allotted.delta for run in self.runs.values()] + [event.delta for event in self.charged]
        event = allotted.update if allotted else self.any_event
        return summed_delta(stated + [allotted.delta] if allotted else stated, event.unit if event else "record")

    def epsilon(self) -> float:
        return epsilon_of(self.spent, self.delta)

    def epsilon_with(self, allotted: Allotted | None = None) -> float:
        """What all open runs, and one more, will have cost at the end."""
        promised = plus(self.promised, allotted.spending) if allotted else self.promised
        return epsilon_of(promised, self.delta_with(allotted))


def summed_delta(stated: Iterable[float], unit: Unit) -> float:
    """The delta at which a ledger's spending is summed up: the smallest that a plan promised; of a bank as a whole never above
    ``BANK_DELTA``, so that no plan makes a budget look larger by leaving more out."""
    return min([*stated, *([BANK_DELTA] if unit == "institution" else [])], default=RECORD_DELTA)


def require_within(book: Book, allotted: Allotted, budget: float | None) -> None:
    """Raises ``BudgetExceeded`` where the run costs more than its plan says, all runs more than the bank allows, or no epsilon holds."""
    own = epsilon_of(allotted.spending, allotted.delta)
    if own > allotted.epsilon * ROUNDING:
        raise BudgetExceeded(expected=f"a run of epsilon {allotted.epsilon:g} at most", got=f"{own:.4g}")
    if budget is not None and (total := book.epsilon_with(allotted)) > budget * ROUNDING:
        raise BudgetExceeded(
            expected=f"an epsilon of at most {budget:g} for {_whom(allotted.update)}",
            got=f"{total:.4g} with this run, {book.epsilon_with():.4g} without it",
        )
    _require_finite(book, allotted)


def _require_finite(book: Book, allotted: Allotted) -> None:
    """Without a bound of the bank's own there still is this one: where failures have used up delta, no epsilon can be stated."""
    failure, delta = plus(book.promised, allotted.spending).failure, book.delta_with(allotted)
    if failure and math.isinf(book.epsilon_with(allotted)):
        raise BudgetExceeded(
            expected=f"a chance of failure below delta {delta:g} for {_whom(allotted.update)}", got=f"{failure:.3g} with this run",
            action="Ask for a plan that lists its categories: agreeing on them takes a tenth of delta in every run.",
        )


def require_budget(book: Book, budget: float | None) -> None:
    """Raises ``BudgetExceeded`` where the bank has set its bound below what it already allotted."""
    if budget is not None and (total := book.epsilon_with()) > budget * ROUNDING:
        raise BudgetExceeded(
            expected=f"an epsilon of at most {budget:g} for {_whom(book.any_event)}",
            got=f"{total:.4g} that open and past runs may have cost",
        )


def _whom(event: PrivacyEvent | None) -> str:
    """Whose privacy, and the line of the policy that bounds it."""
    if event is not None and event.unit == "institution":
        return phrase("this bank over all plans of the project (max_institution_epsilon)")
    return phrase("these customers over all plans (max_record_epsilon)")


def allotment_of(terms: RecordTerms, *, run: str, project: str, plan_hash: str) -> Allotted:
    nameless = "0" * 64
    return Allotted(
        run=run, project=project, plan_hash=plan_hash, epsilon=terms.epsilon, delta=terms.delta, updates=terms.updates,
        statistics=terms.statistics_event(nameless), update=terms.update_event(nameless, nameless),
    )


def release_of(*, run: str, institution: str, base_digest: str | None, slot: int | None = None, cohort: str | None = None) -> str:
    """The name of a release: one for a run's statistics, one for each base version, so repeated attempts have the same name.

    Async: a bank may train from one base in several ``slot``s, and each is a release of its own. Noise in shares: each ``cohort`` is.
    """
    name: dict[str, object] = {"run": run, "institution": institution, "base": base_digest or "statistics"}
    return digest_of({**name, **({} if slot is None else {"slot": slot}), **({} if cohort is None else {"cohort": cohort})})


def _require(holds: bool, expected: str, got: str) -> None:
    if not holds:
        raise IllegalMove(expected=expected, got=got)
