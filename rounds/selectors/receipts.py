"""What the portal knows of each thing that left a bank: the agent's signed words, their place on the ledger, what it cost.

What clipping did (norms before it, how much was cut) is not here: no noise covers it, so the bank's agent keeps it to itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Q

from audit.models import Entry
from clientagent.wire.messages import PrivacyEvent, UpdateManifest
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.book import release_of
from clientagent.wire.signing import parse
from rounds.models import PrivacyRelease, Receipt

UPDATES = ("update_accepted", "update_late")


@dataclass(frozen=True)
class Cost:
    """One release: its epsilon, the run's up to it, and what the plan allows; ``noise`` is relative to ``clip``."""

    unit: str
    of_this: float
    of_run: float
    allowed: float
    delta: float
    noise: float
    clip: float


@dataclass(frozen=True)
class Sent:
    """A receipt with what it is about. ``holds``: the ledger's entry is the one that it names, with the same digest."""

    receipt: Receipt
    said: dict[str, Any]
    manifest: UpdateManifest | None
    holds: bool
    agent_key: str = ""
    costs: list[Cost] = field(default_factory=list)
    is_masked_sum: bool = False
    """A share of a masked sum that is no update: a bank's statistics."""

    @property
    def is_smaller(self) -> bool:
        return self.manifest is not None and self.manifest.update_bytes < self.manifest.plain_bytes

    @property
    def times_smaller(self) -> float:
        return self.manifest.plain_bytes / max(self.manifest.update_bytes, 1) if self.manifest else 1.0

    @property
    def is_clipped(self) -> bool:
        """Whether the plan clips anything, so that there is something that only the bank knows."""
        plan = self.receipt.run.plan.document if self.receipt.run else None
        return plan is not None and (plan.privacy.record_dp is not None or plan.privacy.institution_dp is not None)


def sent(receipts: Iterable[Receipt]) -> list[Sent]:
    """Each receipt with its entry and costs, in so many questions whatever their number. Runs and plans must be selected with them."""
    rows = list(receipts)
    entries = _entries(rows)
    releases = _releases(rows)
    return [_sent(row, entries.get(_place(row)), releases.get((row.institution_id, row.run_id), [])) for row in rows]


def _place(row: Receipt) -> tuple[str, int]:
    said = row.signed["document"]
    return said["chain"], said["seq"]


def _entries(rows: list[Receipt]) -> dict[tuple[str, int], Entry]:
    wanted: dict[str, list[int]] = {}
    for chain, seq in map(_place, rows):
        wanted.setdefault(chain, []).append(seq)
    if not wanted:
        return {}
    places = Q()
    for chain, seqs in wanted.items():
        places |= Q(chain_id=chain, seq__in=seqs)
    return {(entry.chain_id, entry.seq): entry for entry in Entry.objects.filter(places)}


def _releases(rows: list[Receipt]) -> dict[tuple[int, UUID | None], list[PrivacyRelease]]:
    """By bank and run, in the order in which they came."""
    found: dict[tuple[int, UUID | None], list[PrivacyRelease]] = {}
    banks, runs = {row.institution_id for row in rows}, {row.run_id for row in rows if row.run_id}
    known = PrivacyRelease.objects.filter(account__institution__in=banks, run__in=runs).select_related("account")
    for release in known.order_by("at", "pk"):
        found.setdefault((release.account.institution_id, release.run_id), []).append(release)
    return found


def _sent(row: Receipt, entry: Entry | None, releases: list[PrivacyRelease]) -> Sent:
    said = row.signed["document"]
    holds = entry is not None and entry.hash == said["entry_hash"]
    if entry is None or entry.kind not in UPDATES:
        is_masked = entry is not None and entry.kind == "statistics_masked"
        return Sent(row, said, None, holds, "", _costs(row, None, releases), is_masked)
    manifest = parse(UpdateManifest, entry.body["manifest"]["document"])
    same = entry.body["update_digest"] == said["update_digest"] == manifest.update_digest
    key = entry.body["manifest"]["signature"]["key"]
    return Sent(row, said, manifest, holds and same, key, _costs(row, manifest, releases))


def _costs(row: Receipt, manifest: UpdateManifest | None, releases: list[PrivacyRelease]) -> list[Cost]:
    if row.run is None or row.subject not in ("update", "ready", "statistics"):
        return []
    plan: Plan = row.run.plan.document
    costs = []
    for unit, part in (("record", plan.privacy.record_dp), ("institution", plan.privacy.institution_dp)):
        ours = [release for release in releases if release.account.unit == unit]
        at = next((i for i, release in enumerate(ours) if _is_of(row, manifest, release)), None)
        if part is None or at is None:
            continue
        before = ours[at - 1].run_epsilon if at else 0.0
        if unit == "record" and manifest is not None and manifest.privacy is not None:
            before = manifest.privacy.run_epsilon_before
        event = PrivacyEvent.model_validate(ours[at].event)
        of_run = ours[at].run_epsilon
        costs.append(Cost(unit, of_run - before, of_run, part.epsilon, event.delta, event.noise_multiplier, event.clip))
    return costs


def _is_of(row: Receipt, manifest: UpdateManifest | None, release: PrivacyRelease) -> bool:
    said = row.signed["document"]
    if manifest is None:
        return release.account.unit == "record" and release.round == said["round"]
    if release.account.unit == "record":
        return manifest.privacy is not None and manifest.privacy.event.release == release.release
    return release.release == release_of(
        run=said["run"], institution=manifest.institution, base_digest=manifest.base_digest, cohort=manifest.cohort
    )
