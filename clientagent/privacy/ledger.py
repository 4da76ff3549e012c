"""The privacy ledger of one dataset lineage at the bank: a chained file, and nothing is trained or sent against its word.

``<name>.jsonl`` holds the entries, each line synced before anything follows from it; a torn last line was never acted on and is
dropped. ``<name>.seen.json`` is the portal's last countersignature, ``<name>.locked.json`` says why the ledger stands still: one
of the two sides was found behind (a restored backup forgets what was spent), and people have to reconcile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from clientagent.files import read_document, write_document
from clientagent.wire.canonical import canonical, parse_json
from clientagent.wire.errors import LedgerBroken, PrivacyLedgerLocked, Problem, Refusal
from clientagent.wire.ledger import GENESIS, Entry, seal, verify_chain
from clientagent.wire.messages import Message, SpentRelease
from clientagent.wire.messages.privacy import (
    PROJECT,
    PrivacyCountersignature,
    PrivacyEvent,
    PrivacyHead,
    PrivacyHeadUpdate,
    Unit,
)
from clientagent.wire.privacy.book import (
    Allotted,
    Book,
    Closed,
    Fact,
    Reconciled,
    Reserved,
    Settled,
    require_budget,
    require_within,
)
from clientagent.wire.privacy.heads import require_known
from clientagent.wire.signing import PrivateKey, Signed, parse, sign_document


class _Line(Message):
    entry: Entry
    hash: str


class Lock(Message):
    """Why the ledger stands still."""

    code: str
    expected: str
    got: str
    action: str


class PrivacyLedger:
    """One lineage of one institution, or the institution as a whole in one project (``PROJECT`` and its name).

    One process writes it: the agent, under its home's lock. ``now`` gives UTC texts.
    """

    def __init__(self, folder: Path, *, institution: str, lineage: str, now: Callable[[], str]) -> None:
        name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in lineage)[:100]
        self.institution, self.lineage = institution, lineage
        self.unit: Unit = "institution" if lineage.startswith(PROJECT) else "record"
        self.subject = lineage.removeprefix(PROJECT)
        self.chain = f"privacy/{institution}/{lineage}"
        self._path = folder / f"{name}.jsonl"
        self._seen_path, self._lock_path = folder / f"{name}.seen.json", folder / f"{name}.locked.json"
        self._now = now
        self._load()

    # ------------------------------------------------------------------- verbs
    def allot(self, allotted: Allotted, *, budget: float | None) -> None:
        """Set aside all that a run may need; again for the same run is no new allotment. Raises ``BudgetExceeded``."""
        known = self.book.runs.get(allotted.run)
        if known is not None and known.allotted == allotted:
            return
        require_within(self.book, allotted, budget)
        self._append(Fact.ALLOTTED, allotted)

    def reserve(self, run: str, event: PrivacyEvent, *, budget: float | None) -> None:
        """Before training. The same release again (after a crash, or a repeated attempt) costs nothing more.

        Raises ``BudgetExceeded`` beyond the allotment, or where the bank has lowered its bound since.
        """
        known = self.book.run(run).releases.get(event.release)
        if known is not None and known[0] == event:
            self._require_open()
            return
        require_budget(self.book, budget)
        self._append(Fact.RESERVED, Reserved(run=run, event=event))

    def require_room(self, run: str, *, budget: float | None) -> None:
        """Whether one more update of this run can be booked: asked before work that would be in vain. Raises as ``reserve`` does."""
        self._require_open()
        require_budget(self.book, budget)
        self.book.run(run).require_room()

    def commit(self, run: str, release: str) -> None:
        """Just before the first byte leaves; once is enough."""
        self._require_open()
        if not self.has_left(run, release):
            self._append(Fact.COMMITTED, Settled(run=run, release=release))

    def release(self, run: str, release: str, *, reason: str) -> None:
        """Only where nothing left and nothing will. Raises ``IllegalMove`` for one that was committed."""
        self._append(Fact.RELEASED, Settled(run=run, release=release, reason=reason))

    def close(self, run: str, *, reason: str) -> None:
        """The run is over: what it did not use is free again. Raises ``IllegalMove`` while a release is unsettled."""
        if not self.book.run(run).closed:
            self._append(Fact.CLOSED, Closed(run=run, reason=reason))

    def settle(self, run: str, *, reason: str) -> None:
        """The run is over: what never left is released, and the rest of its allotment is free again."""
        book = self.book.runs.get(run)
        if book is None or book.closed:
            return
        for release in [name for name, (_, left) in book.releases.items() if not left]:
            self.release(run, release, reason=reason)
        self.close(run, reason=reason)

    def reconcile(self, *, by: str, reason: str, charged: Sequence[SpentRelease]) -> None:
        """A person has compared both sides: charge what is missing here and go on in a new epoch, which the portal confirms."""
        self._write(Fact.RECONCILED, Reconciled(by=by, reason=reason, epoch=self.book.epoch + 1, charged=list(charged)))
        self._seen_path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)

    # ----------------------------------------------------------------- answers
    def has_left(self, run: str, release: str) -> bool:
        known = self.book.run(run).releases.get(release)
        return known is not None and known[1]

    @property
    def seq(self) -> int:
        return len(self._hashes)

    @property
    def lock(self) -> Lock | None:
        return read_document(self._lock_path, Lock)

    def head_update(self, key: PrivateKey) -> PrivacyHeadUpdate:
        """Our signed head and what leads to it from the last head that the portal countersigned."""
        seen = self.seen
        since = seen.seq if seen else 0
        head = PrivacyHead(
            institution=self.institution, unit=self.unit, subject=self.subject, seq=self.seq,
            hash=self._hashes[-1] if self._hashes else GENESIS, epoch=self.book.epoch, at_utc=self._now(),
        )
        return PrivacyHeadUpdate(head=sign_document(head, key), since_seq=since, links=self._digests[since:])

    @property
    def seen(self) -> PrivacyCountersignature | None:
        signed = read_document(self._seen_path, Signed)
        return parse(PrivacyCountersignature, signed.document) if signed else None

    @property
    def is_countersigned(self) -> bool:
        """Whether the portal's last word is about this very head."""
        seen, head = self.seen, self._hashes[-1] if self._hashes else GENESIS
        return seen is not None and (seen.seq, seen.hash, seen.epoch) == (self.seq, head, self.book.epoch)

    def confront(self, countersigned: Signed) -> None:
        """Hold the portal's word (its signature is verified by the caller) against ours, and keep it.

        Where one side is behind the ledger locks. Raises ``PrivacyLedgerLocked``.
        """
        theirs = parse(PrivacyCountersignature, countersigned.document)
        try:
            if (theirs.institution, theirs.subject, theirs.unit) != (self.institution, self.subject, self.unit):
                raise PrivacyLedgerLocked(expected=f"a word about {self.chain}", got=f"{theirs.institution}/{theirs.subject}")
            require_known(theirs, self.seen, self._hashes, self.book.epoch)
        except PrivacyLedgerLocked as error:
            self._lock(error.problem())
            raise
        write_document(self._seen_path, countersigned)

    # ------------------------------------------------------------------ writing
    def _append(self, fact: Fact, body: Message) -> None:
        self._require_open()
        self._write(fact, body)

    def _write(self, fact: Fact, body: Message) -> None:
        """The book checks the move and changes nothing where it is illegal; the line is on disk before the move counts."""
        self.book.apply(fact, body)
        entry = Entry(
            chain=self.chain, seq=self.seq + 1, at_utc=self._now(), kind=fact.value, actor=self.institution,
            body=body.model_dump(mode="json"),
        )
        digest = entry.content_digest
        sealed = seal(self._hashes[-1] if self._hashes else GENESIS, digest)
        try:
            _append_line(self._path, canonical(_Line(entry=entry, hash=sealed)))
        except OSError:
            self._load()
            raise
        self._hashes.append(sealed)
        self._digests.append(digest)

    def _load(self) -> None:
        lines = _read(self._path)
        verify_chain(((line.entry, line.hash) for line in lines), chain=self.chain)
        self._hashes = [line.hash for line in lines]
        self._digests = [line.entry.content_digest for line in lines]
        self.book = Book(line.entry for line in lines)

    def _require_open(self) -> None:
        lock = self.lock
        if lock is not None:
            raise PrivacyLedgerLocked(expected=lock.expected, got=lock.got, action=lock.action)

    def _lock(self, problem: Problem) -> None:
        write_document(self._lock_path, Lock(**problem))


def lineages(folder: Path) -> list[str]:
    """The names of all ledgers in a folder, as their own entries spell them."""
    first = [lines[0].entry.chain for path in sorted(folder.glob("*.jsonl")) if (lines := _read(path))]
    return [chain.split("/", 2)[2] for chain in first]


def _read(path: Path) -> list[_Line]:
    """All whole lines. A torn last one is cut off: it was not synced, so nothing followed from it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    try:
        return [parse(_Line, parse_json(line)) for line in whole.splitlines()]
    except Refusal as error:
        raise LedgerBroken(expected=f"lines of a ledger in {path.name}", got=error.got) from error


def _append_line(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)
        os.lseek(descriptor, 0, os.SEEK_END)
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
