"""What a run has cost in privacy, computed anew from the events that its history records, and held against what was stated.

Each customer's: the events that banks signed with their updates (used or late), of the statistics, and of updates that were refused
after their privacy was spent. Each bank's: one event for each sum that a version came of, or under masks for each vector in a cohort.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from clientagent.wire.errors import LedgerBroken
from clientagent.wire.messages import AggregationManifest, AggregationNoise, RosterEntry, UpdateManifest
from clientagent.wire.messages.privacy import PrivacyEvent, Unit
from clientagent.wire.plan import Plan
from clientagent.wire.signing import parse

SAME, ROUNDING = 1 + 1e-6, 1 + 1e-9
NOBODY = "0" * 64


@dataclass(frozen=True)
class Spent:
    """One bank's customers, or one bank. ``stated``: the last word on it. ``computed``: from the ``events``; None where nothing can.

    ``of_stated``: computed from the events that the last word was about, so without refused updates.
    """

    institution: str
    unit: Unit
    events: int
    stated: float
    computed: float | None
    of_stated: float | None
    allowed: float
    delta: float

    @property
    def holds(self) -> bool | None:
        """Whether no more was spent than stated, and no more than the plan allows; None where it was not computed."""
        if self.computed is None or self.of_stated is None:
            return None
        return self.of_stated <= self.stated * SAME and max(self.computed, self.stated) <= self.allowed * ROUNDING


class SpendingStory:
    """The expenses of one run. Methods raise ``LedgerBroken`` for an event that is not as the plan says."""

    def __init__(self, plan: Plan, roster: dict[str, RosterEntry]) -> None:
        self._plan, self._roster = plan, roster
        self._customers: dict[str, dict[str, PrivacyEvent]] = defaultdict(dict)
        self._refused: dict[str, dict[str, PrivacyEvent]] = defaultdict(dict)
        self._banks: dict[str, list[PrivacyEvent]] = defaultdict(list)
        self._stated: dict[tuple[Unit, str], float] = defaultdict(float)
        self._noise: dict[int, AggregationManifest] = {}
        self._cohorts: dict[str, float] = {}

    # ----------------------------------------------------------------- customers
    def statistics(self, bank: str, said: dict[str, Any] | None) -> None:
        """``said``: the event of protected statistics with the epsilon that it led to."""
        if said is not None:
            self._customer(bank, parse(PrivacyEvent, said["event"]), float(said["run_epsilon"]))

    def left(self, manifest: UpdateManifest) -> None:
        """An update that reached the portal, in time or late."""
        record, said = self._plan.privacy.record_dp, manifest.privacy
        _same(f"a privacy statement of {manifest.institution}, as the plan says", record is not None, said is not None)
        if said is None:
            return
        _same("the base version of the event", manifest.base_digest, said.event.base_digest)
        self._check_terms(manifest, said.event)
        self._customer(manifest.institution, said.event, said.run_epsilon)

    def refused(self, bank: str, events: Iterable[Any]) -> None:
        for event in (parse(PrivacyEvent, one) for one in events):
            self._refused[bank][event.release] = event

    def _customer(self, bank: str, event: PrivacyEvent, stated: float) -> None:
        known = self._customers[bank].setdefault(event.release, event)
        _same(f"the event of release {event.release[:16]}", known.model_dump(), event.model_dump())
        self._stated["record", bank] = max(self._stated["record", bank], stated)

    def _check_terms(self, manifest: UpdateManifest, event: PrivacyEvent) -> None:
        from clientagent.wire.privacy.terms import delta_of
        from clientagent.wire.strategies import steps_of

        record, rows = self._plan.privacy.record_dp, manifest.rows
        assert record is not None
        facts = [
            ("the unit", "record", event.unit), ("the mechanism", "dp_sgd", event.mechanism), ("the clip", record.clip, event.clip),
            ("the chance of a row", record.sampling, event.sampling_rate), ("the steps", steps_of(self._plan, rows), event.steps),
            ("delta", delta_of(record, rows), event.delta),
        ]  # fmt: skip
        for what, expected, got in facts:
            _same(f"{what} of {manifest.institution}'s event", expected, got)

    # --------------------------------------------------------------------- banks
    def cohort_formed(self, rid: str, noise_multiplier: float | None) -> None:
        if noise_multiplier is not None:
            self._cohorts[rid] = noise_multiplier

    def masked(self, manifest: UpdateManifest) -> None:
        """A vector in a cohort whose banks add noise in shares: its sum may be opened."""
        if manifest.cohort in self._cohorts:
            self._banks[manifest.institution].append(
                self._bank_event("discrete_gaussian", self._cohorts[manifest.cohort], manifest.base_digest)
            )

    def closed(self, aggregation: AggregationManifest) -> None:
        self._noise[aggregation.round] = aggregation

    def published(self, body: dict[str, Any]) -> None:
        """A version: its sum's noise is what protects each bank in it; the portal says what that has cost each so far."""
        aggregation = self._noise.get(body["round"])
        if aggregation is not None and aggregation.noise is not None:
            noise = _joint(aggregation.noise)
            for bank in {entry.institution for entry in aggregation.entries}:
                self._banks[bank].append(self._bank_event("gaussian", noise, aggregation.base_digest))
        for bank, epsilon in body.get("epsilon", {}).items():
            self._stated["institution", bank] = max(self._stated["institution", bank], float(epsilon))

    def _bank_event(self, mechanism: str, noise_multiplier: float, base_digest: str) -> PrivacyEvent:
        bank = self._plan.privacy.institution_dp
        assert bank is not None
        return parse(PrivacyEvent, {
            "release": NOBODY, "mechanism": mechanism, "unit": "institution", "noise_multiplier": noise_multiplier, "clip": 1.0,
            "delta": bank.delta, "base_digest": base_digest, "accountant": "",
        })

    # ---------------------------------------------------------------------- sums
    def spent(self) -> list[Spent]:
        """Of every bank that an event is recorded of, customers first."""
        found = []
        record, whole = self._plan.privacy.record_dp, self._plan.privacy.institution_dp
        if record is not None:
            from clientagent.wire.privacy.terms import delta_of

            for bank in sorted({*self._customers, *self._refused}):
                told = {**self._unrecorded_statistics(bank), **self._customers[bank]}
                every = {**self._refused[bank], **told}
                rows = self._roster[bank].rows if bank in self._roster else 1
                found.append(self._of(bank, "record", list(every.values()), list(told.values()), record.epsilon, delta_of(record, rows)))
        if whole is not None:
            for bank, events in sorted(self._banks.items()):
                found.append(self._of(bank, "institution", events, events, whole.epsilon, whole.delta))
        return found

    def _unrecorded_statistics(self, bank: str) -> dict[str, PrivacyEvent]:
        """A portal of the version before did not record what protected the statistics; it follows from the plan."""
        from clientagent.wire.privacy.accounting import is_available
        from clientagent.wire.privacy.terms import record_terms

        is_recorded = any(event.base_digest is None for event in self._customers[bank].values())
        if is_recorded or not self._plan.protects_statistics or bank not in self._roster or not is_available():
            return {}
        event = record_terms(self._plan, self._roster[bank].rows).statistics_event(NOBODY)
        return {NOBODY: event} if event else {}

    def _of(
        self, bank: str, unit: Unit, events: list[PrivacyEvent], told: list[PrivacyEvent], allowed: float, delta: float
    ) -> Spent:
        stated = self._stated[unit, bank]
        return Spent(bank, unit, len(events), stated, _epsilon(events, delta), _epsilon(told, delta), allowed, delta)


def _joint(noise: AggregationNoise) -> float:
    """The multiplier of everything that a round releases: the sum, and beside it where the clip adapts the count of banks.

    The inverse of Andrew et al. 2021, theorem 1: both together are one Gaussian, and the count's sensitivity is a half.
    """
    if noise.count_deviation is None:
        return noise.noise_multiplier
    return float((noise.noise_multiplier**-2 + (2 * noise.count_deviation) ** -2) ** -0.5)


def _epsilon(events: list[PrivacyEvent], delta: float) -> float | None:
    from clientagent.wire.privacy.accounting import epsilon_of, is_available
    from clientagent.wire.privacy.events import together

    return epsilon_of(together(events), delta) if is_available() else None


def _same(what: str, expected: Any, got: Any) -> None:
    if expected != got:
        _fail(f"{what}: {expected}"[:300], f"{got}"[:300])


def _fail(expected: str, got: str) -> NoReturn:
    raise LedgerBroken(expected=expected, got=got)
