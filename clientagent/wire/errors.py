"""Every typed refusal that may cross the wire: what happened, what was expected, what came, what to do next.

An error class is named for what happened. ``code`` is the contract: people and programs key on it, so it never changes.
``Refusal`` is for *their* bytes or *their* request; a fault of ours is an ordinary exception and is never caught.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict


class Problem(TypedDict):
    """The JSON body of every refusal."""

    code: str
    expected: str
    got: str
    action: str


class Refusal(Exception):
    """Something was refused for a stated reason. Nothing changed because of it."""

    code: ClassVar[str] = "refused"
    advice: ClassVar[str] = "Read the message and try again."

    def __init__(self, *, expected: str = "", got: str = "", action: str = "") -> None:
        self.expected = expected
        self.got = got
        self.action = action or self.advice
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """One line for a person."""
        parts = [self.code]
        if self.expected:
            parts.append(f"expected {self.expected.rstrip('.')}")
        if self.got:
            parts.append(f"got {self.got.rstrip('.')}")
        return ": ".join([parts[0], ", ".join(parts[1:])]) if len(parts) > 1 else parts[0]

    def problem(self) -> Problem:
        return {"code": self.code, "expected": self.expected, "got": self.got, "action": self.action}


class Malformed(Refusal):
    code = "malformed"
    advice = "Send a document that follows the schema at /api/schema/."


class PlanInvalid(Refusal):
    code = "plan_invalid"
    advice = "Correct the named field of the plan."


class PlanUnsupported(Refusal):
    code = "plan_unsupported"
    advice = "Choose a value that this version can run, or upgrade."


class PlanNotApproved(Refusal):
    code = "plan_not_approved"
    advice = "Read the plan and approve it with 'fedagent plans approve HASH', or widen policy.toml."


class PlanHashMismatch(Refusal):
    code = "plan_hash_mismatch"
    advice = "Do not run this plan. Tell the consortium's administrator and auditor."


class SignatureInvalid(Refusal):
    code = "signature_invalid"
    advice = "Sign the request with the agent's current key."


class ClockSkewed(Refusal):
    code = "clock_skewed"
    advice = "Set this machine's clock (for example with NTP); requests are valid for five minutes."


class Replayed(Refusal):
    code = "replayed"
    advice = "Sign each request anew with a fresh nonce."


class KeyUnknown(Refusal):
    code = "key_unknown"
    advice = "Enrol this agent again, or ask the administrator which key is valid."


class AgentNotApproved(Refusal):
    code = "agent_not_approved"
    advice = "Ask the consortium's administrator to compare fingerprints and approve this agent."


class AgentRevoked(Refusal):
    code = "agent_revoked"
    advice = "This key was revoked. Ask the administrator; enrol again with a new code."


class InstitutionSuspended(Refusal):
    code = "institution_suspended"
    advice = "Ask the consortium's administrator why the institution is suspended."


class NotAllowed(Refusal):
    code = "not_allowed"
    advice = "Sign in with an account whose role may do this."


class NotFound(Refusal):
    code = "not_found"
    advice = "Check the address; it may belong to another institution."


class EnrolmentCodeInvalid(Refusal):
    code = "enrolment_code_invalid"
    advice = "Ask the administrator for a new code; a code works once and expires."


class PortalKeyMismatch(Refusal):
    code = "portal_key_mismatch"
    advice = "Do not go on: this is not the portal that the code was made for, or somebody sits in between."


class ProtocolUnsupported(Refusal):
    code = "protocol_unsupported"
    advice = "Upgrade the older side; one version back is compatible."


class DigestMismatch(Refusal):
    code = "digest_mismatch"
    advice = "Send the bytes again; what arrived is not what was signed."


class Truncated(Refusal):
    code = "truncated"
    advice = "Send the whole body again."


class TooLarge(Refusal):
    code = "too_large"
    advice = "The plan bounds the size of an update; send no more than that."


class TensorsMismatch(Refusal):
    code = "tensors_mismatch"
    advice = "Send exactly the tensors of the plan's model: names, shapes and float32."


class CodecInvalid(Refusal):
    code = "codec_invalid"
    advice = "Send the update in the codec that the plan names, as this version of the agent encodes it."


class OwnStateLost(Refusal):
    code = "own_state_lost"
    advice = "Restore the agent's home from a backup; otherwise this bank can take part again in a new run."


class NotFinite(Refusal):
    code = "not_finite"
    advice = "The update holds NaN or infinity. Lower the learning rate or check the data."


class UpdateConflict(Refusal):
    code = "update_conflict"
    advice = "Another update was already accepted for this slot; an agent resends only the same bytes."


class RoundUnknown(Refusal):
    code = "round_unknown"
    advice = "Ask for work again; this round or attempt does not exist."


class RoundClosed(Refusal):
    code = "round_closed"
    advice = "The round was closed before this arrived; the update was not used. Ask for work again."


class BaseMismatch(Refusal):
    code = "base_mismatch"
    advice = "Train from the version that the work order names."


class ManifestMismatch(Refusal):
    code = "manifest_mismatch"
    advice = "Do not go on: the run's manifest changed. Tell the auditor."


class StatisticsInvalid(Refusal):
    code = "statistics_invalid"
    advice = "Send statistics for exactly the plan's features."


class CountsInvalid(Refusal):
    code = "counts_invalid"
    advice = "Send counts for the bins of the plan that add up to the declared rows."


class DataUnfit(Refusal):
    code = "data_unfit"
    advice = "Correct the named column at the bank, then run 'fedagent check'."


class LedgerBroken(Refusal):
    code = "ledger_broken"
    advice = "The history does not verify. Keep the file and tell the auditor."


class IllegalMove(Refusal):
    code = "illegal_move"
    advice = "Reload: the state changed in the meantime, or this action is not possible in it."


class TooManyRequests(Refusal):
    code = "too_many_requests"
    advice = "Wait and try again later."


class PortalUnreachable(Refusal):
    code = "portal_unreachable"
    advice = "Run 'fedagent doctor' to see which hop fails."


class PolicyInvalid(Refusal):
    code = "policy_invalid"
    advice = "Correct policy.toml; 'fedagent plans' shows what it accepts."


class BaseUnavailable(Refusal):
    code = "base_unavailable"
    advice = "Ask for work again."


class NotEnrolled(Refusal):
    code = "not_enrolled"
    advice = "Enrol first: fedagent enrol URL --code CODE."


# ------------------------------------------------------------------ secure aggregation
class CohortMismatch(Refusal):
    code = "cohort_mismatch"
    advice = "Do not go on with this cohort: its terms are not those of the plan and the roster. Tell the auditor."


class CohortTooSmall(Refusal):
    code = "cohort_too_small"
    advice = "Wait for the next attempt: too few banks are left to open a sum."


class StageClosed(Refusal):
    code = "stage_closed"
    advice = "Ask for work again; this stage of the cohort is over, or has not begun."


class MaskKeyInvalid(Refusal):
    code = "mask_key_invalid"
    advice = "Make fresh keys for each cohort; a key that is weak or used twice is refused."


class ShareInvalid(Refusal):
    code = "share_invalid"
    advice = "The named bank's share is not the one that was dealt. Form a new cohort without that bank."


class ConsistencyBroken(Refusal):
    code = "consistency_broken"
    advice = "Do not go on: the portal told banks different things about one cohort. Tell the auditor."


class MaskReused(Refusal):
    code = "mask_reused"
    advice = "Masks serve one vector only: send the stored one again, or wait for the next cohort."


class UnmaskRefused(Refusal):
    code = "unmask_refused"
    advice = "Nothing was revealed. Tell the auditor if the portal asks again."


class RingExceeded(Refusal):
    code = "ring_exceeded"
    advice = "A value is larger than the cohort's terms allow; nothing was sent or published."


# --------------------------------------------------------------------------- differential privacy
class BudgetExceeded(Refusal):
    code = "budget_exceeded"
    advice = "Nothing was trained or sent. Ask for a smaller epsilon or fewer rounds, or raise the bank's own bound."


class PrivacyLedgerLocked(Refusal):
    code = "privacy_ledger_locked"
    advice = "Do not go on: bank and portal disagree about what was spent. Compare both sides and reconcile them by hand."


class PrivacyUnsound(Refusal):
    code = "privacy_unsound"
    advice = "These settings would not give the privacy that they name; change the named one."
