"""Whose privacy a plan spends at this bank, and what the portal has seen of that: the agent's one way to its privacy ledgers."""

from __future__ import annotations

import logging

from clientagent.approval import utc_now
from clientagent.home import Home
from clientagent.policy import load_policy
from clientagent.portal import Portal
from clientagent.privacy.ledger import PrivacyLedger
from clientagent.privacy.releases import Release, Releases
from clientagent.wire.errors import BudgetExceeded, NotFound, PrivacyLedgerLocked
from clientagent.wire.messages import BankPrivacy, PrivacyCountersignature, PrivacyStatement, UpdateManifest
from clientagent.wire.messages.privacy import PROJECT
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.accounting import NoiseCache
from clientagent.wire.privacy.book import ROUNDING, Allotted, release_of
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.signing import Signed, parse, sign_document

log = logging.getLogger("fedagent.privacy")


def ledger_of(home: Home, lineage: str) -> PrivacyLedger:
    """The ledger of a lineage as it is on disk. Raises ``LedgerBroken``."""
    return PrivacyLedger(home.privacy_path, institution=home.require_identity().institution, lineage=lineage, now=utc_now)


def bank_allotment(plan: Plan, *, run: str) -> Allotted:
    """All that a run under institution_dp takes of one bank."""
    terms, nobody = institution_terms(plan), "0" * 64
    return Allotted(
        run=run, project=plan.project, plan_hash=plan.hash, epsilon=terms.epsilon, delta=terms.delta, updates=terms.updates,
        statistics=None, update=terms.event(nobody, nobody),
    )


class PrivacyDesk:
    """Holds the ledgers that this agent's process writes."""

    def __init__(self, home: Home, portal: Portal) -> None:
        self._home, self._portal = home, portal
        self._ledgers: dict[str, PrivacyLedger] = {}
        self._releases: tuple[tuple[object, ...], Releases] | None = None

    def ledger(self, lineage: str) -> PrivacyLedger:
        if lineage not in self._ledgers:
            self._ledgers[lineage] = ledger_of(self._home, lineage)
        return self._ledgers[lineage]

    def releases(self, plan: Plan, *, run: str, rows: int) -> Releases:
        """Of a run under record_dp. Raises ``PolicyInvalid``, ``PlanUnsupported`` and ``BudgetExceeded``."""
        policy = load_policy(self._home.policy_path)
        budget, lineage = policy.accept.max_record_epsilon, policy.lineage_of(plan.project)
        key = (run, rows, budget, lineage)
        if self._releases is None or self._releases[0] != key:
            cache = NoiseCache(self._home.privacy_path / "noise.json")
            folder = self._home.run(run).privacy_path
            made = Releases(plan, self.ledger(lineage), folder, run=run, rows=rows, budget=budget, cache=cache)
            self._releases = key, made
        return self._releases[1]

    def allot(self, plan: Plan, *, run: str, rows: int) -> Releases:
        """Set the whole run aside. Where that is too much, runs that have ended first give back what they did not use.

        Raises ``BudgetExceeded`` and ``PrivacyLedgerLocked``.
        """
        releases = self.releases(plan, run=run, rows=rows)
        try:
            releases.allot()
        except BudgetExceeded:
            ledger = releases.ledger
            self._settle_ended(ledger, ledger.lineage)
            releases.allot()
        return releases

    def _settle_ended(self, ledger: PrivacyLedger, subject: str) -> None:
        """Believing the portal here costs nothing: a run that is settled can spend no more."""
        try:
            ended = self._portal.privacy(subject).ended
        except NotFound:  # a portal of the version before
            return
        for run in ended:
            ledger.settle(run, reason="the portal says that the run has ended")

    # ----------------------------------------------------- the bank as a whole
    def project(self, project: str) -> PrivacyLedger:
        """What this bank as a whole has spent in a project; the portal keeps its own count of it."""
        name = f"{PROJECT}{project}"
        return self.ledger(name)

    def allot_bank(self, plan: Plan, *, run: str) -> None:
        """Set aside what a run under institution_dp costs this bank, within its own bound and the project's budget.

        Raises ``BudgetExceeded`` and ``PrivacyLedgerLocked``.
        """
        if plan.privacy.institution_dp is None:
            return
        allotted = bank_allotment(plan, run=run)
        ledger, budget = self.project(plan.project), self._bank_budget
        try:
            ledger.allot(allotted, budget=budget)
        except BudgetExceeded:
            self._settle_ended(ledger, ledger.lineage)
            ledger.allot(allotted, budget=budget)
        if not self._within_project(ledger, run):
            self._settle_ended(ledger, ledger.lineage)
        try:
            self._require_within_project(ledger, run)
        except BudgetExceeded:
            ledger.settle(run, reason="the project's budget does not hold it")
            raise

    def _require_within_project(self, ledger: PrivacyLedger, run: str) -> None:
        """Raises ``BudgetExceeded`` where this bank's own books say that the project's budget is too small, and ``PrivacyLedgerLocked``."""
        if not self._within_project(ledger, run):
            raise BudgetExceeded(
                expected=f"an epsilon of at most {self._shown(ledger, run):g} for each bank over all plans of the project (its budget)",
                got=f"{ledger.book.epsilon_with():.4g} with this run",
                action="Nothing was trained or sent. Ask the administrator for a smaller run, or for a larger budget of the project.",
            )

    def _within_project(self, ledger: PrivacyLedger, run: str) -> bool:
        budget = self._shown(ledger, run)
        return budget is None or ledger.book.epsilon_with() <= budget * ROUNDING

    def _shown(self, ledger: PrivacyLedger, run: str) -> float | None:
        """The project's budget as the portal last signed it, once it has countersigned where this ledger stands now.

        A portal that knows a later entry than we have, or forgot one that it countersigned, locks the ledger.
        """
        if not ledger.is_countersigned:
            key, book = self._home.key, ledger.book
            said = BankPrivacy(
                institution=ledger.institution, run=run, project=ledger.subject, epsilon=book.epsilon(), promised=book.epsilon_with(),
                delta=book.delta, budget=self._bank_budget, head=ledger.head_update(key),
            )
            try:
                ledger.confront(self._verified(self._portal.meet_bank(sign_document(said, key))))
            except NotFound:  # a portal of the version before
                return None
        seen = ledger.seen
        return seen.budget if seen else None

    def _verified(self, word: Signed) -> Signed:
        self._portal.open(word, PrivacyCountersignature)
        return word

    def reserve_bank(self, plan: Plan, *, run: str, base_digest: str, clip: float | None = None) -> None:
        """Before an update under institution_dp is made and cut to ``clip``; a repeated attempt at a round costs nothing more.

        Under secure aggregation an update costs when it leaves for a cohort; here is only asked whether it then may.
        """
        if plan.privacy.institution_dp is None:
            return
        if plan.privacy.secure_aggregation is not None:
            ledger = self.project(plan.project)
            ledger.require_room(run, budget=self._bank_budget)
            self._require_within_project(ledger, run)
            return
        self._reserve(plan, run, base_digest, clip)

    def bank_leaving(
        self, plan: Plan, *, run: str, base_digest: str, clip: float | None = None, cohort: str | None = None
    ) -> None:
        """The first byte is about to leave. For a ``cohort`` (its rid) with noise of its own this is a release of its own."""
        if plan.privacy.institution_dp is not None:
            release = self._reserve(plan, run, base_digest, clip, cohort)
            self.project(plan.project).commit(run, release)

    def _reserve(self, plan: Plan, run: str, base_digest: str, clip: float | None, cohort: str | None = None) -> str:
        ledger = self.project(plan.project)
        release = release_of(run=run, institution=ledger.institution, base_digest=base_digest, cohort=cohort)
        ledger.reserve(run, institution_terms(plan).event(release, base_digest, clip), budget=self._bank_budget)
        self._require_within_project(ledger, run)
        return release

    @property
    def _bank_budget(self) -> float | None:
        return load_policy(self._home.policy_path).accept.max_institution_epsilon

    def run_ended(self, run: str) -> None:
        """The run's result is here: nothing more will be asked for, and what was not used is free again."""
        manifest = self._home.run(run).manifest
        plan = self._home.plan(manifest.plan_hash) if manifest else None
        if plan is None:
            return
        lineage = load_policy(self._home.policy_path).lineage_of(plan.project)
        protected = [(plan.privacy.record_dp, lineage), (plan.privacy.institution_dp, f"{PROJECT}{plan.project}")]
        for ledger in [self.ledger(name) for asked, name in protected if asked is not None]:
            if ledger.lock is None:
                ledger.settle(run, reason="the run has finished")

    def begin(self, plan: Plan, *, run: str, rows: int, base_digest: str, slot: int) -> tuple[Releases, Release] | None:
        """An update's reservation; None for a plan without record_dp. Raises ``BudgetExceeded``, ``PrivacyLedgerLocked``."""
        if plan.privacy.record_dp is None:
            return None
        releases = self.releases(plan, run=run, rows=rows)
        return releases, releases.begin(base_digest, slot=slot)

    def leaving(self, run: str, statement: PrivacyStatement | None) -> None:
        """The first byte of what this statement protects is about to leave."""
        if statement is not None:
            self.ledger(statement.subject).commit(run, statement.event.release)

    def update_leaving(self, manifest: Signed) -> None:
        if manifest.document.get("privacy") is not None:
            self.leaving(str(manifest.document["run"]), parse(UpdateManifest, manifest.document).privacy)

    def confront(self, countersigned: Signed | None) -> None:
        """Hold the portal's word on a ledger against ours. One that does not fit locks the ledger: later orders are refused."""
        if countersigned is None:
            return
        word = self._portal.open(countersigned, PrivacyCountersignature)
        try:
            self.ledger(word.subject).confront(countersigned)
        except PrivacyLedgerLocked as error:
            log.critical("%s. %s", error.sentence, error.action)
