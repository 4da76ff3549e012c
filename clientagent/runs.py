"""What the agent keeps of one run: the pinned manifest, what it declared, and each work down to its finished bytes.

``manifest.json`` (with the preprocessing) is pinned on first sight. ``work/<round>-<attempt>/`` holds ``order.json`` (the
order and the seed, before training), ``update.safetensors`` and ``manifest.json`` (the finished update, before its first
byte leaves) and ``receipt.json``. Under secure aggregation there are also ``plain.safetensors`` and ``ready.json`` (the update
that waits, and that we said so), ``counts.json`` (our counts of the base, which are masked too) and ``cohort-N.json`` (our side of
a cohort, with its secrets; ``cohort-N.noise``: the key of our share of noise); ``update.safetensors`` then holds masked words. A
restart reads these and goes on.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from clientagent.files import read_document, read_unsynced, write_atomic, write_document
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.errors import Problem
from clientagent.wire.messages import EvaluationCounts, ManifestAnswer, Message, RunManifest, UpdateManifest, WorkOrder
from clientagent.wire.signing import Signed, parse

NOISE_KEY_BYTES = 32
KEPT_UPDATES = 3
"""Rounds whose update bytes stay on disk; manifests and receipts stay for ever."""


class PinnedOrder(Message):
    """An order and the randomness fixed for it."""

    order: Signed
    seed: int = Field(ge=0)

    @property
    def work(self) -> WorkOrder:
        return parse(WorkOrder, self.order.document)


class Stop(Message):
    """Why the agent does nothing more for a run."""

    code: str
    expected: str
    got: str
    action: str


class OwnClipping(Message):
    """What clipping did to a private update's drawn rows: for this bank's eyes, as no noise covers it.

    ``clip_share`` of their gradients were cut; ``mean_norm``: their norm before that, on average (None: an agent of before noted none).
    """

    clip_share: float = Field(ge=0, le=1)
    mean_norm: float | None = Field(None, ge=0)


class OwnNorms(Message):
    """L2 norms of one update as only this bank knows them: as it was trained, and as it left, under whatever mask.

    ``clip``: what it was cut to for the privacy of the bank, None where nothing cuts it.
    """

    before: float = Field(ge=0)
    after: float = Field(ge=0)
    clip: float | None = Field(None, gt=0)


class Consent(Message):
    """The operator's word that one more sum of a base version may be opened."""

    version: int
    at_utc: str


class WorkFolder:
    """One attempt at one round."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.update_path = path / "update.safetensors"
        self.plain_path = path / "plain.safetensors"

    @property
    def pinned(self) -> PinnedOrder | None:
        return read_document(self.path / "order.json", PinnedOrder)

    def set_aside(self) -> WorkFolder:
        """Keep it as evidence under another name, so that its place is free."""
        number = 1
        while (path := self.path.with_name(f"before-{number}-{self.path.name}")).exists():
            number += 1
        return WorkFolder(self.path.rename(path))

    def pin(self, order: Signed, seed: int) -> PinnedOrder:
        pinned = PinnedOrder(order=order, seed=seed)
        write_document(self.path / "order.json", pinned, settle=False)
        return pinned

    @property
    def manifest(self) -> Signed | None:
        return read_document(self.path / "manifest.json", Signed)

    def finish(self, update: bytes, manifest: Signed) -> None:
        """The update first, then its manifest: where there is a manifest, order and bytes are there and whole."""
        write_atomic(self.update_path, update, settle=False)
        write_document(self.path / "manifest.json", manifest)

    def holds(self, manifest: UpdateManifest) -> bool:
        """Whether the bytes that this manifest signs are still here."""
        return self.update_path.exists() and sha256_hex(self.update_path.read_bytes()) == manifest.update_digest

    # ------------------------------------------------------- to be masked
    @property
    def ready(self) -> Signed | None:
        """Our word that the update waits to be masked; with it the update lies beside, and never leaves as it is."""
        return read_document(self.path / "ready.json", Signed)

    def wait_to_be_masked(self, update: bytes, ready: Signed) -> None:
        """The update first, then the word: where there is a word, the update is there and whole."""
        write_atomic(self.plain_path, update, settle=False)
        write_document(self.path / "ready.json", ready)

    @property
    def counts(self) -> EvaluationCounts | None:
        """Our counts of the base, which leave only under masks; None where the plan asks for none in this round."""
        return read_document(self.path / "counts.json", EvaluationCounts)

    def keep_counts(self, counts: EvaluationCounts) -> None:
        write_document(self.path / "counts.json", counts)

    def party(self, cohort: int) -> bytes | None:
        path = self._party_path(cohort)
        return path.read_bytes() if path.exists() else None

    def save_party(self, cohort: int, party: bytes) -> None:
        """On disk before anything that follows from it is sent."""
        write_atomic(self._party_path(cohort), party)

    def noise_key(self, cohort: int) -> bytes:
        """What this bank's share of noise in a cohort comes from: drawn once, and on disk before it is used."""
        path = self.path / f"cohort-{cohort}.noise"
        if not path.exists():
            write_atomic(path, os.urandom(NOISE_KEY_BYTES))
        return path.read_bytes()

    def _party_path(self, cohort: int) -> Path:
        return self.path / f"cohort-{cohort}.json"

    def forget_bytes(self) -> None:
        """Drop vectors and secrets of a work that is long answered for; what was said and signed stays."""
        for path in (self.update_path, self.plain_path, *self.path.glob("cohort-*")):
            path.unlink(missing_ok=True)

    @property
    def norms(self) -> OwnNorms | None:
        """None for an update of before they were noted."""
        return read_unsynced(self.path / "norms.json", OwnNorms)

    def note_norms(self, norms: OwnNorms) -> None:
        write_document(self.path / "norms.json", norms, sync=False)

    @property
    def receipt(self) -> Signed | None:
        return read_unsynced(self.path / "receipt.json", Signed)

    def save_receipt(self, receipt: Signed) -> None:
        """A copy, to see at a glance that this work is done; the receipt itself is in the home's ``receipts/``."""
        write_document(self.path / "receipt.json", receipt, sync=False)


class RunFolder:
    """One run, as this bank has seen it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    # ------------------------------------------------------------ pinned papers
    @property
    def pinned(self) -> ManifestAnswer | None:
        return read_document(self.path / "manifest.json", ManifestAnswer)

    def pin(self, answer: ManifestAnswer) -> None:
        write_document(self.path / "manifest.json", answer)

    @property
    def manifest(self) -> RunManifest | None:
        pinned = self.pinned
        return parse(RunManifest, pinned.manifest.document) if pinned else None

    @property
    def statistics(self) -> Signed | None:
        """The signed answer to the statistics stage: a report, or that the data do not fit."""
        return read_document(self.path / "statistics.json", Signed)

    def save_statistics(self, report: Signed) -> None:
        write_document(self.path / "statistics.json", report)

    @property
    def plain_statistics(self) -> Path:
        """Our statistics, which leave only under masks."""
        return self.path / "statistics-plain.json"

    def statistics_party(self, cohort: int) -> Path:
        """Our side of a cohort that sums statistics, with its secrets."""
        return self.path / f"statistics-cohort-{cohort}.json"

    def statistics_parties(self) -> list[Path]:
        return sorted(self.path.glob("statistics-cohort-*.json"), key=lambda path: int(path.stem.rsplit("-", 1)[1]))

    def forget_statistics(self) -> None:
        """Drop what statistics were masked from, and with: the run's manifest says what came of them."""
        for path in (self.plain_statistics, *self.statistics_parties()):
            path.unlink(missing_ok=True)

    @property
    def privacy_path(self) -> Path:
        """Keys of releases, and a noised count that stays here."""
        return self.path / "privacy"

    def evaluation(self, number: int) -> Signed | None:
        return read_document(self.path / "evaluations" / f"{number}.json", Signed)

    def save_evaluation(self, number: int, report: Signed) -> None:
        write_document(self.path / "evaluations" / f"{number}.json", report)

    # ------------------------------------------------------------- the emergency
    @property
    def stopped(self) -> Stop | None:
        return read_document(self.path / "stopped.json", Stop)

    def stop(self, problem: Problem) -> None:
        write_document(self.path / "stopped.json", Stop(**problem))

    # --------------------------------------------------------- a second opening
    def _consent_path(self, number: int) -> Path:
        return self.path / f"reopen-{number}.json"

    def may_reopen(self, number: int) -> bool:
        """Whether the operator consents to one more opened sum of this base version."""
        return self._consent_path(number).exists()

    def consent_to_reopen(self, number: int, consent: Consent) -> None:
        write_document(self._consent_path(number), consent)

    def use_consent(self, number: int) -> None:
        """It was for one sum."""
        path = self._consent_path(number)
        if path.exists():
            path.replace(path.with_suffix(".used"))

    # ---------------------------------------------------------------------- work
    def work(self, round_number: int, attempt: int) -> WorkFolder:
        return WorkFolder(self.path / "work" / f"{round_number}-{attempt}")

    def attempts(self, round_number: int) -> list[WorkFolder]:
        return [WorkFolder(path) for path in (self.path / "work").glob(f"{round_number}-*/")]

    def works(self) -> list[WorkFolder]:
        return [WorkFolder(path) for path in sorted((self.path / "work").glob("[0-9]*/"), key=_by_round)]

    def forget_old_updates(self, round_number: int) -> None:
        """Drop the bytes (not the manifests and receipts) of rounds that are long answered for."""
        for attempt in self.attempts(round_number - KEPT_UPDATES):
            if attempt.receipt or attempt.ready:
                attempt.forget_bytes()


def _by_round(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.name.split("-") if part.isdigit())
