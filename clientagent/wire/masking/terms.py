"""The terms of a cohort, computed from plan and manifest. Portal and bank call this same function, and the bank compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from clientagent.wire.errors import CohortMismatch, CohortTooSmall
from clientagent.wire.masking.cohort import threshold_for
from clientagent.wire.masking.shares import clip_of
from clientagent.wire.messages import RosterEntry, RunManifest
from clientagent.wire.plan import Plan, Schedule, SecureAggregation
from clientagent.wire.secure_messages import CohortMember, CohortTerms, Segment
from clientagent.wire.signing import parse


@dataclass(frozen=True)
class Base:
    """The version that a bank's update starts from, and how many versions that is behind (async)."""

    number: int
    digest: str
    staleness: int = 0


def cohort_terms(
    *, plan: Plan, manifest: RunManifest, manifest_digest: str, round_number: int, attempt: int, cohort: int = 1,
    bases: Mapping[str, Base], segments: Sequence[Segment], purpose: Literal["update", "statistics", "evaluation"] = "update",
    noise_multiplier: float | None = None,
) -> CohortTerms:
    """Terms for the banks of ``bases``: identities pinned by the manifest, limits from the plan, layout as given.

    Raises ``CohortMismatch`` for a bank that is not on the roster and ``CohortTooSmall`` below ``min_cohort``.
    """
    rules = _rules(plan)
    if len(bases) < rules.min_cohort:
        raise CohortTooSmall(expected=f"{rules.min_cohort} banks", got=f"{len(bases)}")
    roster = {entry.institution: entry for entry in manifest.roster}
    if strangers := set(bases) - set(roster):
        raise CohortMismatch(expected="banks of the roster", got=", ".join(sorted(strangers)))
    return parse(CohortTerms, {
        "type": "cohort_terms", "purpose": purpose, "project": plan.project, "run": manifest.run, "round": round_number,
        "attempt": attempt, "cohort": cohort, "manifest_digest": manifest_digest,
        "threshold": threshold_for(rules.threshold, len(bases)),
        "members": [_member(roster[name], bases[name], plan.schedule) for name in sorted(bases)],
        "min_cohort": rules.min_cohort, "weighting": plan.strategy.weighting,
        "clip": clip_of(plan) if purpose == "update" else None,
        "noise_multiplier": noise_multiplier, "segments": list(segments),
    })


def statistics_terms(*, plan: Plan, run: str, cohort: int, members: Sequence[CohortMember], segments: Sequence[Segment]) -> CohortTerms:
    """Terms of a cohort that sums statistics: before there is a manifest its members name their own keys, and the plan is their base.

    Raises ``CohortMismatch`` for a bank that does not take part in the plan and ``CohortTooSmall`` below ``min_cohort``.
    """
    rules = _rules(plan)
    if len(members) < max(rules.min_cohort, plan.privacy.min_banks):
        raise CohortTooSmall(expected=f"{max(rules.min_cohort, plan.privacy.min_banks)} banks", got=f"{len(members)}")
    if strangers := {member.institution for member in members} - set(plan.participants):
        raise CohortMismatch(expected="participants of the plan", got=", ".join(sorted(strangers)))
    return parse(CohortTerms, {
        "type": "cohort_terms", "purpose": "statistics", "project": plan.project, "run": run, "round": 0, "attempt": 1,
        "cohort": cohort, "manifest_digest": plan.hash, "threshold": threshold_for(rules.threshold, len(members)),
        "members": [
            statistics_member(plan, institution=one.institution, agent_id=one.agent_id, public_key=one.public_key)
            for one in sorted(members, key=lambda member: member.institution)
        ],
        "min_cohort": rules.min_cohort,
        "weighting": plan.strategy.weighting, "segments": list(segments),
    })


def statistics_member(plan: Plan, *, institution: str, agent_id: str, public_key: str) -> CohortMember:
    """A bank in a cohort that sums statistics."""
    return CohortMember(institution=institution, agent_id=agent_id, public_key=public_key, base_number=0, base_digest=plan.hash)


def _rules(plan: Plan) -> SecureAggregation:
    if plan.privacy.secure_aggregation is None:
        raise CohortMismatch(expected="a plan with secure aggregation", got="one without")
    return plan.privacy.secure_aggregation


def _member(entry: RosterEntry, base: Base, schedule: Schedule) -> CohortMember:
    """Its weight is public: the roster's, less for staleness (1 + s)**-power (Xie et al. 2019, polynomial)."""
    discount = round((1 + base.staleness) ** -schedule.staleness_power, 6)  # a power's last bit differs between machines
    return CohortMember(
        institution=entry.institution, agent_id=entry.agent_id, public_key=entry.public_key, weight=entry.weight * discount,
        base_number=base.number, base_digest=base.digest, staleness=base.staleness,
    )
