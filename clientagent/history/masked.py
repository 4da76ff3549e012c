"""Secure aggregation as a run's history tells it: who formed a cohort, who stayed, and what its banks signed about the sum.

What an auditor can hold against signatures is checked here: the terms follow from plan and manifest, every key, vector and word on
the survivors is its bank's own, more than half signed the same list, and exactly that list was aggregated. The sum itself needs the
masked vectors and the banks' answers, which the portal keeps and the history names by digest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from clientagent.wire.errors import LedgerBroken
from clientagent.wire.messages import AggregationManifest, RunManifest, UpdateManifest
from clientagent.wire.plan import Plan
from clientagent.wire.signing import Signed, open_signed, parse

WEIGHTS_TOLERANCE = 1e-12


@dataclass
class Told:
    """One cohort, as far as its entries have come."""

    cohort: Any
    stages: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    signers: list[str] = field(default_factory=list)


class MaskedStory:
    """The cohorts of one run. Methods raise ``LedgerBroken`` or what a signature's check raises."""

    def __init__(self, plan: Plan, manifest: RunManifest, manifest_digest: str, remarks: list[str]) -> None:
        self._plan, self._manifest, self._digest, self._remarks = plan, manifest, manifest_digest, remarks
        self._told: dict[str, Told] = {}
        self._statistics: Told | None = None
        self._vectors: dict[str, str] = {}
        self.masked: dict[str, Signed] = {}
        """Each accepted masked vector by its digest."""

    def formed(self, body: dict[str, Any], base: tuple[int, str]) -> None:
        """The terms are those that plan, manifest and the banks that were ready give."""
        from clientagent.wire.masking import Base, Cohort, bound_offered, cohort_segments, cohort_terms  # cryptography and numpy load here
        from clientagent.wire.secure_messages import CohortTerms

        said = parse(CohortTerms, body["terms"])
        names = [member.institution for member in said.members]
        noise = self._noise_of(said.noise_multiplier) if said.purpose == "update" else None
        own = cohort_terms(
            plan=self._plan, manifest=self._manifest, manifest_digest=self._digest, round_number=body["round"],
            attempt=body["attempt"], cohort=body["cohort"], bases=dict.fromkeys(names, Base(*base)),
            segments=cohort_segments(
                self._plan, self._manifest, names, purpose=_purpose(said.purpose), base_number=base[0], attempt=body["attempt"],
                bound=bound_offered(said.segments), noise_multiplier=noise,
            ),
            noise_multiplier=noise, purpose=_purpose(said.purpose),
        )
        cohort = Cohort(own)
        _same("the cohort's terms", cohort.rid, Cohort(said).rid)
        _same("the cohort's name", cohort.rid, body["rid"])
        self._told[cohort.rid] = Told(cohort)

    def statistics_formed(self, body: dict[str, Any]) -> None:
        """The terms of a cohort that sums statistics are those of the plan and its members; the roster's banks bear their keys there."""
        from clientagent.wire.masking import Cohort, most_rows_offered, statistics_segments, statistics_terms
        from clientagent.wire.secure_messages import CohortTerms

        said = parse(CohortTerms, body["terms"])
        known = {member.institution: member.public_key for member in said.members}
        roster = [entry for entry in self._manifest.roster if entry.institution in known]
        for entry in roster:
            _same(f"the key of {entry.institution}", entry.public_key, known[entry.institution])
        most = most_rows_offered(said.segments, max((entry.rows for entry in roster), default=0))
        own = Cohort(statistics_terms(
            plan=self._plan, run=self._manifest.run, cohort=body["cohort"], members=said.members,
            segments=statistics_segments(self._plan, most_rows=most),
        ))
        _same("the cohort's terms", own.rid, Cohort(said).rid)
        _same("the cohort's name", own.rid, body["rid"])
        self._told[own.rid] = self._statistics = Told(own)

    def statistics_masked(self, body: dict[str, Any]) -> None:
        """One bank's masked statistics as the portal received them."""
        self._vectors[body["institution"]] = body["digest"]

    def require_summed(self) -> None:
        """The roster's banks are in the sum that the preprocessing was made of, and enough of them signed who is."""
        told = self._statistics
        if told is None:
            _fail("a cohort that summed the statistics, as the plan masks them", "none")
        _same("the last stage of the cohort that summed statistics", "unmask", told.stages[-1] if told.stages else "none")
        for entry in self._manifest.roster:
            _same(f"the masked statistics of {entry.institution}", self._vectors.get(entry.institution), told.inputs.get(entry.institution))

    def _noise_of(self, said: float | None) -> float | None:
        """The noise multiplier that follows from the plan's epsilon; where nothing here can compute it, the one that was said."""
        if self._plan.privacy.institution_dp is None:
            return None
        from clientagent.wire.privacy.accounting import ACCOUNTANT, is_available
        from clientagent.wire.privacy.institution import institution_terms

        if is_available():
            return institution_terms(self._plan).noise_multiplier
        remark = f"that the noise suffices for the plan's epsilon was not recomputed: {ACCOUNTANT} is not installed"
        if remark not in self._remarks:
            self._remarks.append(remark)
        return said

    def stage_closed(self, body: dict[str, Any]) -> None:
        told = self._of(body["rid"])
        stages = ["keys", "shares", "masked", "consistency", "unmask"]
        _same("the next stage", stages[len(told.stages)], body["stage"])
        told.stages.append(body["stage"])
        said = [parse(Signed, one) for one in body.get("said", {}).values()]
        if body["stage"] == "keys":
            self._keys(told, said)
        elif body["stage"] == "masked":
            self._masked(told, said)
        elif body["stage"] == "consistency":
            self._consistency(told, said)

    def _keys(self, told: Told, said: list[Signed]) -> None:
        from clientagent.wire.secure_messages import KeyAdvertisement

        told.cohort.require_enough(told.cohort.open_all(said, KeyAdvertisement, LedgerBroken))

    def _masked(self, told: Told, said: list[Signed]) -> None:
        from clientagent.wire.secure_messages import MaskedInput

        words = told.cohort.open_all(said, MaskedInput, LedgerBroken)
        told.cohort.require_enough(words)
        told.inputs = {bank: words[bank].digest for bank in sorted(words)}
        if told is self._statistics:
            return
        for one, word in zip(said, words.values(), strict=True):
            if self.masked.get(word.digest) != one:
                _fail(f"the masked update of {word.institution} as it was accepted", "another one")

    def _consistency(self, told: Told, said: list[Signed]) -> None:
        from clientagent.wire.secure_messages import ConsistencySignature

        words = told.cohort.open_all(said, ConsistencySignature, LedgerBroken)
        told.cohort.require_enough(words, told.cohort.terms.threshold)
        for bank, word in words.items():
            _same(f"the survivors that {bank} signed", told.inputs, word.inputs)
        told.signers = sorted(words)

    def aggregated(self, aggregation: AggregationManifest) -> None:
        """A closed round counts the survivors that the banks signed, weighted as the terms say."""
        if aggregation.cohort is None:
            _fail("a cohort, as the plan masks updates", "none")
        told = self._of(aggregation.cohort)
        _same("the last stage", "unmask", told.stages[-1] if told.stages else "none")
        _same("the survivors", told.inputs, {entry.institution: entry.update_digest for entry in aggregation.entries})
        weights = {member.institution: member.weight for member in told.cohort.terms.members}
        total = sum(weights[entry.institution] for entry in aggregation.entries)
        for entry in aggregation.entries:
            if abs(entry.weight - weights[entry.institution] / total) > WEIGHTS_TOLERANCE:
                _fail(f"the weight {weights[entry.institution] / total:g} of {entry.institution}", f"{entry.weight:g}")

    def accepted(self, manifest: UpdateManifest) -> None:
        """A masked update tells nothing of its bank alone, and its bank signed it for a cohort of this run."""
        from clientagent.wire.secure_messages import MaskedInput

        if manifest.masked is None:
            _fail("a masked update, as the plan says", "a plain one")
        told = (manifest.norm, manifest.train_loss, manifest.base_loss, manifest.counts)
        _same("norm, losses and counts", (None,) * 4, told)
        rid = str(manifest.masked.document.get("rid"))
        said = open_signed(manifest.masked, self._of(rid).cohort.key_of(manifest.institution), MaskedInput)
        _same("the masked vector", said.digest, manifest.update_digest)
        self.masked[said.digest] = manifest.masked

    def only_counts(self, manifest: UpdateManifest) -> bool:
        """Whether a masked vector holds a closing evaluation and no update."""
        return manifest.cohort is not None and self._of(manifest.cohort).cohort.terms.purpose == "evaluation"

    def _of(self, rid: str) -> Told:
        if rid not in self._told:
            _fail("a cohort that was formed before", rid[:16])
        return self._told[rid]


def _purpose(said: str) -> Literal["update", "evaluation"]:
    """What a cohort of a round may be for."""
    if said == "update":
        return "update"
    if said == "evaluation":
        return "evaluation"
    _fail("a cohort for updates or for an evaluation", said)


def _same(what: str, expected: Any, got: Any) -> None:
    if expected != got:
        _fail(f"{what}: {expected}"[:300], f"{got}"[:300])


def _fail(expected: str, got: str) -> NoReturn:
    raise LedgerBroken(expected=expected, got=got)
