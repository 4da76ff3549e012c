"""The bank's word on a plan: fetched, checked, decided by policy or by hand, signed, stored, then said to the portal.

The word is on disk before it leaves, so a restart says the same word again and not a second one.
"""

from __future__ import annotations

import datetime as dt
import logging
from importlib.util import find_spec

from clientagent.home import Home, StoredDecision
from clientagent.plugins import problem_with
from clientagent.policy import Verdict, decide, load_policy
from clientagent.portal import Portal
from clientagent.wire.errors import PlanHashMismatch, PlanInvalid, PlanNotApproved, PlanUnsupported, PolicyInvalid
from clientagent.wire.messages import Decision, PlanNotice
from clientagent.wire.plan import Plan
from clientagent.wire.privacy import accounting
from clientagent.wire.signing import sign_document

log = logging.getLogger("fedagent.plans")


def utc_now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def can_train() -> bool:
    """Whether torch is installed; asked without importing it."""
    return find_spec("torch") is not None


class ApprovalDesk:
    """Where plans are decided on."""

    def __init__(self, home: Home, portal: Portal) -> None:
        self._home, self._portal = home, portal
        self._looked: tuple[int, ...] = ()

    def fetch(self, plan_hash: str) -> Plan:
        """The plan, from disk or from the portal. Raises ``PlanHashMismatch`` and ``PlanInvalid``."""
        known = self._home.plan(plan_hash)
        if known is not None:
            return known
        signed, _ = self._portal.plan(plan_hash)
        return self._home.save_plan(signed)

    def answer(self, notice: PlanNotice) -> Decision:
        """Decide on the plan of a notice and say so. One that is not what its hash says, or unreadable, is refused."""
        try:
            return self._settle(notice.plan_hash, asked=True, portal_approval=notice.portal_approval)
        except (PlanHashMismatch, PlanInvalid) as error:
            return self._say(notice.plan_hash, Verdict("refused", "policy", error.sentence))

    def reconsider(self) -> None:
        """Say what did not reach the portal; look again at what waits for a hand: ``policy.toml`` may be wider now."""
        if self._looked == (state := self._home.decisions_state):
            return
        try:
            for plan_hash in self._home.plan_hashes():
                self._look_again(plan_hash)
        except PolicyInvalid as error:
            log.error("%s. %s", error.sentence, error.action)
        self._looked = state

    def _look_again(self, plan_hash: str) -> None:
        stored = self._home.decision(plan_hash)
        if stored and not stored.posted:
            self._post(stored)
        elif stored and stored.said.decision == "pending":
            self._settle(plan_hash, asked=False)

    def say_by_hand(self, plan_hash: str, decision: str, reason: str = "") -> Decision:
        """What a person at the bank said. Raises ``PlanUnsupported`` for an approval of what cannot run here."""
        plan = self.fetch(plan_hash)
        hand = Verdict("approved" if decision == "approved" else "refused", "hand", reason)
        verdict = self._decide(plan, hand, portal_approval=False)
        if (verdict.decision, verdict.by) != (hand.decision, hand.by) and decision == "approved":
            raise PlanUnsupported(expected="a plan that this agent can run", got=verdict.reason)
        return self._say(plan_hash, hand)

    def _settle(self, plan_hash: str, *, asked: bool, portal_approval: bool = False) -> Decision:
        """Decide; a word that stands is said again only to a portal that asks."""
        stored = self._home.decision(plan_hash)
        by_hand = stored is not None and stored.said.by == "hand"
        hand = Verdict(stored.said.decision, "hand", stored.said.reason) if stored and by_hand else None
        verdict = self._decide(self.fetch(plan_hash), hand, portal_approval=portal_approval)
        if not stored or not _same(stored.said, verdict):
            return self._say(plan_hash, verdict)
        return self._post(stored) if asked else stored.said

    def _decide(self, plan: Plan, hand: Verdict | None, *, portal_approval: bool) -> Verdict:
        policy = load_policy(self._home.policy_path)
        institution = self._portal.identity.institution
        problem = problem_with(plan) if can_train() else None
        return decide(
            plan, policy, institution=institution, hand=hand, portal_approval=portal_approval, can_train=can_train(),
            can_account=accounting.is_available(), unfit=f"{problem.sentence}. {problem.action}" if problem else "",
        )

    def _say(self, plan_hash: str, verdict: Verdict) -> Decision:
        document = Decision(
            plan_hash=plan_hash, institution=self._portal.identity.institution, decision=verdict.decision,
            by=verdict.by, reason=verdict.reason[:2000], at_utc=utc_now(),
        )
        stored = StoredDecision(decision=sign_document(document, self._home.key))
        self._home.save_decision(stored)
        why = f" ({verdict.reason})" if verdict.reason else ""
        log.info("plan %s: %s by %s%s", plan_hash[:12], verdict.decision, verdict.by, why)
        if verdict.decision == "pending":
            log.warning("plan %s waits for a person: read 'fedagent plans show %s'", plan_hash[:12], plan_hash[:12])
        return self._post(stored)

    def _post(self, stored: StoredDecision) -> Decision:
        """Say it to the portal. Said twice, the same statement has one effect and one receipt."""
        self._portal.decide(stored.said.plan_hash, stored.decision)
        if not stored.posted:
            self._home.save_decision(stored.model_copy(update={"posted": True}))
        return stored.said


def require_approved(home: Home, plan_hash: str) -> Plan:
    """The plan, if this bank approved that very hash. Raises ``PlanNotApproved``."""
    plan = home.plan(plan_hash)
    if plan is None or not home.is_approved(plan_hash):
        stored = home.decision(plan_hash)
        got = stored.said.decision if stored else "none"
        raise PlanNotApproved(expected=f"an approval of plan {plan_hash}", got=got)
    return plan


def _same(said: Decision, verdict: Verdict) -> bool:
    return (said.decision, said.by, said.reason) == (verdict.decision, verdict.by, verdict.reason[:2000])
