"""The entries of one run read in order, each held against those before it and against the signed papers.

The chain proves that nothing was changed after it was written; this file proves that what was written makes sense.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from clientagent.history.clipping import ClippingStory
from clientagent.history.masked import MaskedStory
from clientagent.history.shown import ShownStory
from clientagent.history.spending import SpendingStory
from clientagent.wire.canonical import digest_of, sha256_hex
from clientagent.wire.errors import LedgerBroken, Refusal
from clientagent.wire.ledger import Entry
from clientagent.wire.messages import (
    AggregationEntry,
    AggregationManifest,
    Decision,
    PreprocessingSpec,
    RosterEntry,
    RunManifest,
    UpdateManifest,
)
from clientagent.wire.plan import Plan
from clientagent.wire.signing import PublicKey, Signed, open_signed, parse

WEIGHTS_TOLERANCE = 1e-6
STATES = {
    "run_proposed": "proposed", "run_preparing": "preparing", "manifest_signed": "running", "run_paused": "paused",
    "run_resumed": "running", "run_finished": "finished", "run_stopped": "stopped", "run_failed": "failed",
}  # fmt: skip
"""What a run's state is after an entry of this kind."""


class Slot(NamedTuple):
    """One bank in one attempt at one round."""

    round: int
    attempt: int
    institution: str


@dataclass(frozen=True)
class Accepted:
    update_digest: str
    rows: int
    steps: int
    base_loss: float | None
    only_counts: bool = False


@dataclass(frozen=True)
class Closed:
    digest: str
    aggregation: AggregationManifest


class Story:
    """Call ``read`` for each entry in order, then ``end``. Raises ``LedgerBroken`` naming the entry that does not fit."""

    def __init__(
        self, run: str, plan: Plan, signed: Signed | None, manifest: RunManifest | None, preprocessing: PreprocessingSpec | None
    ) -> None:
        self._run, self._plan, self._signed, self._manifest = run, plan, signed, manifest
        self._roster: dict[str, RosterEntry] = {entry.institution: entry for entry in manifest.roster} if manifest else {}
        self.accepted: dict[Slot, Accepted] = {}
        self.closed: dict[tuple[int, int], Closed] = {}
        self._used: set[Slot] = set()
        self.versions: dict[int, str] = {}
        self._states: dict[int, str | None] = {}
        self.remarks: list[str] = []
        self._manifest_seen = False
        self.number: int | None = None
        self.state = "draft"
        self.reasons: set[str] = {""}
        self._readers: dict[str, Callable[[dict[str, Any]], None]] = {
            "run_proposed": self._run_proposed,
            "plan_decided": self._plan_decided,
            "statistics_received": self._statistics_received,
            "statistics_masked": self._statistics_masked,
            "manifest_signed": self._manifest_signed,
            "update_accepted": self._update_accepted,
            "update_late": self._update_late,
            "update_refused": lambda body: self.spending.refused(body["institution"], body.get("privacy", [])),
            "cohort_formed": self._cohort_formed,
            "cohort_stage_closed": self._stage_closed,
            "round_closed": self._round_closed,
            "version_published": self._version_published,
            "bank_privacy_shown": ShownStory(run, plan, self._roster, self.remarks).shown,
            "run_finished": self._run_finished,
            "result_acknowledged": self._result_acknowledged,
        }
        self._masked: MaskedStory | None = None
        self._clipping = ClippingStory(plan)
        self.spending = SpendingStory(plan, self._roster)
        if manifest and signed:
            self._check_manifest(manifest, preprocessing)
            if plan.privacy.secure_aggregation is not None:
                self._masked = MaskedStory(plan, manifest, signed.digest, self.remarks)

    def read(self, entry: Entry) -> None:
        self.state = STATES.get(entry.kind, self.state)
        self.reasons.add(str(entry.body.get("reason", "")))
        reader = self._readers.get(entry.kind)
        if reader is None:
            return
        try:
            reader(entry.body)
        except Refusal as error:
            raise LedgerBroken(expected=f"entry {entry.seq} ({entry.kind}): {error.expected}", got=error.got) from error
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerBroken(
                expected=f"entry {entry.seq} ({entry.kind}) with all its fields", got=f"{type(error).__name__}: {error}"[:200]
            ) from error

    @property
    def updates(self) -> int:
        """Accepted vectors that held an update."""
        return sum(not accepted.only_counts for accepted in self.accepted.values())

    def end(self) -> None:
        """What can only be judged when all is read."""
        if self._manifest and not self._manifest_seen:
            _fail("an entry manifest_signed", "none")
        unused = len(self.accepted) - len(self._used)
        if unused:
            self.remarks.append(f"{unused} accepted updates belong to attempts that were not aggregated")

    # ------------------------------------------------------------------ manifest
    def _check_manifest(self, manifest: RunManifest, preprocessing: PreprocessingSpec | None) -> None:
        _same("the manifest's run", self._run, manifest.run)
        _same("the manifest's plan", self._plan.hash, manifest.plan_hash)
        _same("the manifest's project", self._plan.project, manifest.project)
        if preprocessing is None:
            _fail("the preprocessing that the manifest names", "none")
        _same("the preprocessing", manifest.preprocessing_digest, digest_of(preprocessing))
        for entry in manifest.roster:
            key = PublicKey.from_text(entry.public_key)
            _same(f"the key of {entry.institution}", entry.key_fingerprint, key.fingerprint)
        _same("the initial weights", _initial_digest(self._plan, manifest.inputs), manifest.initial_digest)

    def _run_proposed(self, body: dict[str, Any]) -> None:
        _same("the run", self._run, body["run"])
        _same("the plan", self._plan.hash, body["plan_hash"])
        self.number = body["number"]

    def _plan_decided(self, body: dict[str, Any]) -> None:
        """A bank's word, checked where the roster shows its key; a bank that never got a seat has none in this file."""
        statement = parse(Signed, body["statement"])
        decision = parse(Decision, statement.document)
        for name in ("institution", "plan_hash", "decision", "by", "reason"):
            _same(f"the signed {name}", getattr(decision, name), body[name])
        entry = self._roster.get(decision.institution)
        if entry and entry.key_fingerprint == statement.signature.key:
            open_signed(statement, PublicKey.from_text(entry.public_key), Decision)
        else:
            self.remarks.append(f"the decision of {decision.institution} bears a key that is not on the roster")

    def _statistics_received(self, body: dict[str, Any]) -> None:
        entry = self._roster.get(body["institution"])
        if entry:
            _same(f"the rows of {entry.institution}", entry.rows, body["rows"])
            self.spending.statistics(entry.institution, body.get("privacy"))

    def _manifest_signed(self, body: dict[str, Any]) -> None:
        if self._signed is None:
            _fail("the manifest in the file", "none")
        _same("the manifest", self._signed.digest, parse(Signed, body["manifest"]).digest)
        self._manifest_seen = True
        if self._plan.masks_statistics and self._masked is not None:
            self._masked.require_summed()

    # -------------------------------------------------------------------- rounds
    def _update_late(self, body: dict[str, Any]) -> None:
        """Not used, but it left its bank, and its privacy is spent."""
        entry = self._roster.get(body["institution"])
        if entry is not None:
            manifest = open_signed(parse(Signed, body["manifest"]), PublicKey.from_text(entry.public_key), UpdateManifest)
            _same("the place", Slot(body["round"], body["attempt"], body["institution"]), _slot_of(manifest))
            self.spending.left(manifest)

    def _update_accepted(self, body: dict[str, Any]) -> None:
        slot = Slot(body["round"], body["attempt"], body["institution"])
        entry = self._roster.get(slot.institution)
        if entry is None or self._manifest is None or self._signed is None:
            _fail("an institution of the roster", slot.institution)
        manifest = open_signed(parse(Signed, body["manifest"]), PublicKey.from_text(entry.public_key), UpdateManifest)
        facts: list[tuple[str, Any, Any]] = [
            ("the run", self._run, manifest.run),
            ("the run's manifest", self._signed.digest, manifest.manifest_digest),
            ("the place", slot, _slot_of(manifest)),
            ("the agent", entry.agent_id, manifest.agent_id),
            ("the update's digest", manifest.update_digest, body["update_digest"]),
            ("the update's rows", manifest.rows, body["rows"]),
            ("the rows that the roster names", entry.rows, manifest.rows),
            ("the base version", self.versions.get(manifest.base_number), manifest.base_digest),
        ]
        for what, expected, got in facts:
            _same(what, expected, got)
        if self._masked is not None:
            self._masked.accepted(manifest)
            self.spending.masked(manifest)
        elif manifest.masked is not None:
            _fail("a plain update, as the plan says", "a masked one")
        self._clipping.accepted(manifest)
        self.spending.left(manifest)
        if slot in self.accepted:
            _fail(f"one update of {slot.institution} in round {slot.round}", "a second one")
        counts = self._masked is not None and self._masked.only_counts(manifest)
        self.accepted[slot] = Accepted(manifest.update_digest, manifest.rows, manifest.steps, manifest.base_loss, counts)

    def _cohort_formed(self, body: dict[str, Any]) -> None:
        if body["round"] == 0:
            if self._plan.masks_statistics and self._manifest is None:
                return  # the run ended before it had a roster to hold its cohort against
            self._require_masked().statistics_formed(body)
            return
        number = body["round"] - 1
        if number not in self.versions:
            _fail(f"version {number} before the cohort", "none")
        self._require_masked().formed(body, (number, self.versions[number]))
        self.spending.cohort_formed(body["rid"], body["terms"].get("noise_multiplier"))

    def _statistics_masked(self, body: dict[str, Any]) -> None:
        if self._manifest is not None:
            self._require_masked().statistics_masked(body)

    def _stage_closed(self, body: dict[str, Any]) -> None:
        if self._manifest is not None or body["round"]:
            self._require_masked().stage_closed(body)

    def _require_masked(self) -> MaskedStory:
        if self._masked is None:
            _fail("a plan with secure aggregation", "a cohort under one without")
        return self._masked

    def _round_closed(self, body: dict[str, Any]) -> None:
        aggregation = parse(AggregationManifest, body["aggregation"])
        _same("the digest of the aggregation", digest_of(aggregation), body["digest"])
        _same("the round", (body["round"], body["attempt"]), (aggregation.round, aggregation.attempt))
        _same("the run", self._run, aggregation.run)
        _same("the base version", self.versions.get(aggregation.base_number), aggregation.base_digest)
        _same("the server's vectors of the base", self._states.get(aggregation.base_number), aggregation.base_state_digest)
        _same("the banks on the roster", len(self._roster), aggregation.participants)
        _same("the strategy", digest_of(self._plan.strategy), digest_of(aggregation.strategy))
        banks = [entry.institution for entry in aggregation.entries]
        if not banks or (self._plan.schedule.mode == "sync" and len(set(banks)) != len(banks)):
            _fail("each bank once", ", ".join(banks) or "none")
        for entry in aggregation.entries:
            accepted = self._use(aggregation, entry)
            self._check_claims(entry, accepted)
        power = self._plan.schedule.staleness_power
        total = sum(entry.weight * (1 + entry.staleness) ** power for entry in aggregation.entries)
        if abs(total - 1) > WEIGHTS_TOLERANCE:
            _fail("weights that sum to 1, but for the discount of stale updates", f"{total:g}")
        if self._masked is not None:
            self._masked.aggregated(aggregation)
        self._clipping.aggregated(aggregation)
        self.spending.closed(aggregation)
        place = (aggregation.round, aggregation.attempt)
        if place in self.closed:
            _fail(f"attempt {aggregation.attempt} at round {aggregation.round} closed once", "a second time")
        self.closed[place] = Closed(body["digest"], aggregation)

    def _check_claims(self, entry: AggregationEntry, accepted: Accepted) -> None:
        """What an entry says of its bank is what the bank signed, or what the roster says."""
        facts: list[tuple[str, Any, Any]] = [
            ("rows", accepted.rows, entry.rows),
            ("steps", accepted.steps, entry.steps),
            ("loss", accepted.base_loss, entry.base_loss),
            ("share", self._roster[entry.institution].weight, entry.share),
        ]
        for what, expected, got in facts:
            _same(f"the {what} of {entry.institution}", expected, got)

    def _use(self, aggregation: AggregationManifest, entry: AggregationEntry) -> Accepted:
        """The accepted update that an entry names, as old as it says; each counts once.

        In sync mode a fresh update belongs to this very attempt; in async mode slots of one round are told apart by digest.
        """
        begun = aggregation.round - entry.staleness
        is_exact = self._plan.schedule.mode == "sync" and not entry.staleness
        for slot, accepted in self.accepted.items():
            if (slot.round, slot.institution) != (begun, entry.institution) or slot in self._used:
                continue
            if accepted.update_digest == entry.update_digest and (not is_exact or slot.attempt == aggregation.attempt):
                self._used.add(slot)
                return accepted
        _fail(f"an accepted update of {entry.institution} begun in round {begun}", f"none with digest {entry.update_digest[:16]}")

    def _version_published(self, body: dict[str, Any]) -> None:
        number = body["number"]
        if number in self.versions:
            _fail(f"version {number} published once", "a second time")
        if number == 0:
            _same("the initial weights", self._manifest.initial_digest if self._manifest else None, body["digest"])
            _same("no parent", None, body["parent_digest"])
        else:
            aggregation = self._aggregation_of(body["round"], body["aggregation_digest"])
            _same("the parent", aggregation.base_digest, body["parent_digest"])
            _same("the parent's number", number - 1, aggregation.base_number)
        self._clipping.published(number, body)
        self.spending.published(body)
        self.versions[number] = body["digest"]
        self._states[number] = body["state_digest"]

    def _run_finished(self, body: dict[str, Any]) -> None:
        _same(f"version {body['selected']} as it was published", self.versions.get(body["selected"]), body["digest"])

    def _result_acknowledged(self, body: dict[str, Any]) -> None:
        _same(f"version {body['number']} as it was published", self.versions.get(body["number"]), body["digest"])

    def _aggregation_of(self, round_number: int, digest: str) -> AggregationManifest:
        for closed in self.closed.values():
            if (closed.aggregation.round, closed.digest) == (round_number, digest):
                return closed.aggregation
        _fail(f"round {round_number} closed with the aggregation {digest}", "no such entry before")


def _slot_of(manifest: UpdateManifest) -> Slot:
    return Slot(manifest.round, manifest.attempt, manifest.institution)


def _initial_digest(plan: Plan, inputs: int) -> str:
    from clientagent.wire.tensors import pack  # numpy loads here, so that a wrong file is named without it
    from clientagent.wire.weights import initial_weights, layout_of

    return sha256_hex(pack(initial_weights(plan, inputs), layout_of(plan, inputs)))


def _same(what: str, expected: Any, got: Any) -> None:
    if expected != got:
        _fail(f"{what}: {_text(expected)}", _text(got))


def _fail(expected: str, got: str) -> NoReturn:
    raise LedgerBroken(expected=expected, got=got)


def _text(value: Any) -> str:
    return str(value) if value is not None else "none"
