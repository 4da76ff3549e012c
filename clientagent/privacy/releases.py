"""One release of one run, from its reservation to its end: what the agent calls around training and sending.

The order is the promise: reserved and its key on disk, then trained, the bytes on disk, then committed, then sent. A crash
between any two of these repeats the same bytes from the same key, and costs nothing more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from clientagent.files import read_document, write_atomic, write_document
from clientagent.privacy.ledger import PrivacyLedger
from clientagent.runs import OwnClipping
from clientagent.wire.errors import PrivacyUnsound
from clientagent.wire.messages import Message, PrivacyEvent, PrivacyStatement
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.accounting import NoiseCache
from clientagent.wire.privacy.book import allotment_of, release_of
from clientagent.wire.privacy.stream import KEY_BYTES, Stream
from clientagent.wire.privacy.terms import RecordTerms, record_terms
from clientagent.wire.signing import PrivateKey


class OwnCount(Message):
    positives: float


class Release(NamedTuple):
    """A reserved release: its name, and the secret that its noise comes from."""

    name: str
    stream: Stream


class Releases:
    """The releases of one run. ``budget`` is the bank's bound for the lineage (``max_record_epsilon``), None for none."""

    def __init__(
        self, plan: Plan, ledger: PrivacyLedger, folder: Path, *, run: str, rows: int, budget: float | None,
        cache: NoiseCache | None = None,
    ) -> None:  # fmt: skip
        self.ledger = ledger
        self._plan, self._folder = plan, folder
        self._run, self._budget = run, budget
        self.terms: RecordTerms = record_terms(plan, rows, cache=cache)

    def allot(self) -> None:
        """At the run's first order. Raises ``BudgetExceeded``: the bank then declines the run."""
        allotted = allotment_of(self.terms, run=self._run, project=self._plan.project, plan_hash=self._plan.hash)
        self.ledger.allot(allotted, budget=self._budget)

    def begin(self, base_digest: str | None, *, slot: int = 1) -> Release:
        """Reserve the update from this base version (None: the statistics), and its noise from a key on disk.

        ``slot``: the order's attempt, which is a release of its own in async mode only. Raises ``BudgetExceeded`` and
        ``PrivacyLedgerLocked``.
        """
        event = self._event(base_digest, slot)
        self.ledger.reserve(self._run, event, budget=self._budget)
        key = self._key(event.release)
        self._forget_others(event.release)
        return Release(event.release, Stream(key))

    def leaving(self, release: str) -> None:
        """The finished bytes are on disk, and the first of them is about to leave."""
        self.ledger.commit(self._run, release)

    def statement(self, release: str, key: PrivateKey) -> PrivacyStatement:
        """What is said with the update: this release's event, and what it adds up to."""
        book = self.ledger.book
        run = book.run(self._run)
        event, _ = run.releases[release]
        return PrivacyStatement(
            event=event, run_epsilon_before=run.epsilon_without(release), run_epsilon=run.epsilon,
            run_epsilon_allowed=self.terms.epsilon, subject=self.ledger.lineage, subject_epsilon=book.epsilon(),
            subject_delta=book.delta, budget=self._budget, head=self.ledger.head_update(key),
        )

    # ------------------------------------------------------------- what stays here
    def keep_positives(self, count: float) -> None:
        """The protected count of positives, with which this bank balances its classes."""
        write_document(self._folder / "positives.json", OwnCount(positives=count))

    @property
    def positives(self) -> float | None:
        kept = read_document(self._folder / "positives.json", OwnCount)
        return kept.positives if kept else None

    def note_clipping(self, release: str, clipping: OwnClipping) -> None:
        """For this bank's own receipts."""
        write_document(self._folder / f"{release}.json", clipping, settle=False)

    # --------------------------------------------------------------------- inside
    def _event(self, base_digest: str | None, slot: int) -> PrivacyEvent:
        own_slot = slot if self._plan.schedule.mode == "async" and base_digest is not None else None
        release = release_of(run=self._run, institution=self.ledger.institution, base_digest=base_digest, slot=own_slot)
        if base_digest is not None:
            return self.terms.update_event(release, base_digest)
        event = self.terms.statistics_event(release)
        if event is None:
            raise ValueError("this plan's statistics carry no noise")
        return event

    def _key(self, release: str) -> bytes:
        path = self._key_path(release)
        if not path.exists():
            if self.ledger.has_left(self._run, release):
                raise PrivacyUnsound(
                    expected="the key of a release that left", got="no such file: new noise would be a second release",
                    action="Sit this round out; the next one has a key of its own.",
                )
            write_atomic(path, os.urandom(KEY_BYTES))
        return path.read_bytes()

    def _forget_others(self, release: str) -> None:
        """Another base is trained from: what left before is never made again, and a found key could only take noise away."""
        for path in self._folder.glob("*.key"):
            if path.stem != release and self.ledger.has_left(self._run, path.stem):
                path.unlink(missing_ok=True)

    def _key_path(self, release: str) -> Path:
        return self._folder / f"{release}.key"
