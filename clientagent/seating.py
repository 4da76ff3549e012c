"""Whether a RunManifest is what this bank agreed to. One wrong line and the bank takes no part in the run.

The portal signs the manifest; this file makes sure that the signature is for *our* plan, *our* key, *our* row counts and for
initial weights that we can compute ourselves.
"""

from __future__ import annotations

from typing import Any

from clientagent.approval import require_approved
from clientagent.home import Home, Identity
from clientagent.portal import Portal
from clientagent.preparation.preprocess import check_spec
from clientagent.runs import RunFolder
from clientagent.wire.canonical import digest_of, sha256_hex
from clientagent.wire.errors import ManifestMismatch
from clientagent.wire.messages import ManifestAnswer, RosterEntry, RunManifest, StatisticsReport
from clientagent.wire.plan import Plan
from clientagent.wire.signing import Signed, parse
from clientagent.wire.tensors import pack
from clientagent.wire.weights import initial_weights, layout_of

RULES_VERSION = 1
ROUNDING = 1e-9
Fact = tuple[str, Any, Any]
"""(what, expected, got)"""


def pinned_manifest(home: Home, portal: Portal, run: str, manifest_digest: str) -> tuple[ManifestAnswer, RunManifest]:
    """The run's manifest: pinned on first sight after every check, the same one ever after. Raises ``ManifestMismatch``."""
    folder = home.run(run)
    answer = folder.pinned
    if answer is None:
        answer = portal.manifest(run)
        _require([("manifest digest", manifest_digest, answer.manifest.digest)])
        manifest = portal.open(answer.manifest, RunManifest)
        check_manifest(home, portal.identity, folder, run, answer, manifest)
        folder.pin(answer)
        folder.forget_statistics()
        return answer, manifest
    _require([("manifest digest", answer.manifest.digest, manifest_digest)])
    return answer, parse(RunManifest, answer.manifest.document)


def check_manifest(
    home: Home, identity: Identity, folder: RunFolder, run: str, answer: ManifestAnswer, manifest: RunManifest
) -> None:
    """Raises ``ManifestMismatch`` naming the first line that is not as agreed, ``PlanNotApproved`` for another plan."""
    plan = require_approved(home, manifest.plan_hash)
    check_spec(plan, answer.preprocessing)
    _require([
        ("run", run, manifest.run),
        ("project", plan.project, manifest.project),
        ("rules version", RULES_VERSION, manifest.rules_version),
        ("preprocessing digest", manifest.preprocessing_digest, digest_of(answer.preprocessing)),
        ("inputs", len(answer.preprocessing.input_names), manifest.inputs),
        *_model_facts(plan, manifest),
        *_roster_facts(plan, manifest.roster),
        *_own_facts(identity, manifest, folder.statistics),
        *_cohort_facts(plan, folder, manifest.roster),
    ])


def _model_facts(plan: Plan, manifest: RunManifest) -> list[Fact]:
    layout = layout_of(plan, manifest.inputs)
    if layout.parameters != manifest.parameters:
        return [("parameters", layout.parameters, manifest.parameters)]
    computed = sha256_hex(pack(initial_weights(plan, manifest.inputs), layout))
    return [("digest of the initial weights", computed, manifest.initial_digest)]


def _roster_facts(plan: Plan, roster: list[RosterEntry]) -> list[Fact]:
    banks = [entry.institution for entry in roster]
    heaviest = max((entry.weight for entry in roster), default=0.0)
    cap = max(plan.strategy.max_weight, 1 / max(len(banks), 1)) + ROUNDING
    least = max(plan.needed(len(plan.participants)), plan.privacy.min_banks)
    return [
        ("banks, each once", len(set(banks)), len(banks)),
        ("strangers on the roster", [], sorted(set(banks) - set(plan.participants))),
        (f"at least {least} banks", True, len(banks) >= least),
        (f"no weight above {cap:g}", True, heaviest <= cap),
        ("weights that sum to 1", True, abs(sum(entry.weight for entry in roster) - 1) < 1e-6),
    ]


def _own_facts(identity: Identity, manifest: RunManifest, statistics: Signed | None) -> list[Fact]:
    own = next((entry for entry in manifest.roster if entry.institution == identity.institution), None)
    if own is None:
        return [("our place on the roster", identity.institution, "no such entry")]
    if statistics is None or statistics.document.get("type") != "statistics_report":
        return [("statistics that we reported", manifest.run, "none on this machine")]
    declared = parse(StatisticsReport, statistics.document)
    return [
        ("agent", identity.agent_id, own.agent_id),
        ("our key", identity.key_fingerprint, own.key_fingerprint),
        ("the rows that we declared", declared.rows, own.rows),
        ("the validation rows that we declared", declared.validation_rows, own.validation_rows),
        ("the hold-out rows that we declared", declared.holdout_rows, own.holdout_rows),
        ("the plan of our statistics", declared.plan_hash, manifest.plan_hash),
    ]


def _cohort_facts(plan: Plan, folder: RunFolder, roster: list[RosterEntry]) -> list[Fact]:
    """Whoever is on the roster had the same key when the statistics were summed under masks."""
    if not plan.masks_statistics:
        return []
    from clientagent.wire.masking import Party  # cryptography loads where there are masks

    known: dict[str, str] = {}
    for path in folder.statistics_parties():
        known |= {member.institution: member.public_key for member in Party.from_json(path.read_bytes()).terms.members}
    return [(f"the key of {entry.institution} as it summed statistics", known.get(entry.institution), entry.public_key) for entry in roster]


def _require(facts: list[Fact]) -> None:
    for what, expected, got in facts:
        if expected != got:
            raise ManifestMismatch(expected=f"{what}: {_text(expected)}", got=_text(got))


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
