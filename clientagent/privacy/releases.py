"""One release of one run, from its reservation to its end: what the agent calls around training and sending.

The order is the promise: reserved and its key on disk, then trained, the bytes on disk, then committed, then sent. A crash
between any two of these repeats the same bytes from the same key, and costs nothing more.
"""

from __future__ import annotations

import os
from pathlib import Path

from clientagent.files import write_atomic
from clientagent.privacy.ledger import PrivacyLedger
from clientagent.wire.messages.privacy import PrivacyEvent, PrivacyStatement
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.accounting import NoiseCache
from clientagent.wire.privacy.book import allotment_of, release_of
from clientagent.wire.privacy.stream import KEY_BYTES, Stream
from clientagent.wire.privacy.terms import RecordTerms, record_terms
from clientagent.wire.signing import PrivateKey


class Releases:
    """The releases of one run. ``budget`` is the bank's bound for the lineage (``max_record_epsilon``), None for none."""

    def __init__(
        self, plan: Plan, ledger: PrivacyLedger, folder: Path, *, run: str, rows: int, budget: float | None,
        cache: NoiseCache | None = None,
    ) -> None:  # fmt: skip
        self._plan, self._ledger, self._folder = plan, ledger, folder
        self._run, self._budget = run, budget
        self.terms: RecordTerms = record_terms(plan, rows, cache=cache)

    def allot(self) -> None:
        """At the run's first order. Raises ``BudgetExceeded``: the bank then declines the run."""
        allotted = allotment_of(self.terms, run=self._run, project=self._plan.project, plan_hash=self._plan.hash)
        self._ledger.allot(allotted, budget=self._budget)

    def begin(self, base_digest: str | None) -> tuple[str, Stream]:
        """Reserve the update from this base version (None: the statistics); its name, and its noise from a key on disk.

        Raises ``BudgetExceeded`` and ``PrivacyLedgerLocked``.
        """
        event = self._event(base_digest)
        self._ledger.reserve(self._run, event, budget=self._budget)
        return event.release, Stream(self._key(event.release))

    def leaving(self, release: str) -> None:
        """The finished bytes are on disk, and the first of them is about to leave."""
        self._ledger.commit(self._run, release)

    def kept(self, release: str, *, reason: str) -> None:
        """Nothing left and nothing will: the reservation is free again, and so is a new key."""
        self._ledger.release(self._run, release, reason=reason)
        self.forget(release)

    def forget(self, release: str) -> None:
        """The portal has the bytes: whoever found the key now could only take the noise away."""
        self._key_path(release).unlink(missing_ok=True)

    def statement(self, release: str, key: PrivateKey) -> PrivacyStatement:
        """What is said with the update: this release's event, and what it adds up to."""
        book = self._ledger.book
        run = book.run(self._run)
        event, _ = run.releases[release]
        updates = run.updates
        return PrivacyStatement(
            event=event, run_epsilon_before=self.terms.epsilon_after(max(updates - 1, 0)), run_epsilon=run.epsilon,
            run_epsilon_allowed=self.terms.epsilon, subject=self._ledger.lineage, subject_epsilon=book.epsilon(),
            subject_delta=book.delta, budget=self._budget, head=self._ledger.head_update(key),
        )

    def _event(self, base_digest: str | None) -> PrivacyEvent:
        release = release_of(run=self._run, institution=self._ledger.institution, base_digest=base_digest)
        if base_digest is not None:
            return self.terms.update_event(release, base_digest)
        event = self.terms.statistics_event(release)
        if event is None:
            raise ValueError("this plan's statistics carry no noise")
        return event

    def _key(self, release: str) -> bytes:
        path = self._key_path(release)
        if not path.exists():
            write_atomic(path, os.urandom(KEY_BYTES))
        return path.read_bytes()

    def _key_path(self, release: str) -> Path:
        return self._folder / f"{release}.key"
