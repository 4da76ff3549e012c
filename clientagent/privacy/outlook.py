"""What a run of a plan would take of this bank's privacy budgets, from the bank's own books: read before a person approves it."""

from __future__ import annotations

from dataclasses import dataclass

from clientagent.home import Home
from clientagent.policy import Policy
from clientagent.privacy.desk import bank_allotment, ledger_of
from clientagent.wire.messages import StatisticsReport
from clientagent.wire.messages.privacy import PROJECT, Unit
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.book import ROUNDING, Allotted, allotment_of
from clientagent.wire.privacy.terms import record_terms
from clientagent.wire.signing import parse

UNKNOWN_ROWS = 10_000
"""Rows of a bank that has counted none for this project yet; terms depend on them only through delta, from 100,000 rows on."""


@dataclass(frozen=True)
class Outlook:
    """One ledger before and after a run. ``bound``: the smallest that policy.toml or the project's budget sets; None for none."""

    unit: Unit
    subject: str
    now: float
    after: float
    bound: float | None
    locked: bool

    @property
    def fits(self) -> bool:
        return not self.locked and (self.bound is None or self.after <= self.bound * ROUNDING)


def outlooks(home: Home, plan: Plan, policy: Policy) -> list[Outlook]:
    """Of each ledger that the plan spends from. Raises ``PlanUnsupported`` where the accountant is not installed."""
    nobody = "0" * 8 + "-0000" * 3 + "-" + "0" * 12
    found = []
    if plan.privacy.record_dp is not None:
        terms = record_terms(plan, _rows(home, plan))
        allotted = allotment_of(terms, run=nobody, project=plan.project, plan_hash=plan.hash)
        found.append(_outlook(home, policy.lineage_of(plan.project), allotted, policy.accept.max_record_epsilon))
    if plan.privacy.institution_dp is not None:
        allotted = bank_allotment(plan, run=nobody)
        found.append(_outlook(home, f"{PROJECT}{plan.project}", allotted, policy.accept.max_institution_epsilon))
    return found


def _outlook(home: Home, name: str, allotted: Allotted, own: float | None) -> Outlook:
    ledger = ledger_of(home, name)
    budget = ledger.seen.budget if ledger.seen else None
    bound = min((one for one in (own, budget) if one is not None), default=None)
    book = ledger.book
    return Outlook(ledger.unit, ledger.subject, book.epsilon_with(), book.epsilon_with(allotted), bound, ledger.lock is not None)


def _rows(home: Home, plan: Plan) -> int:
    """Training rows as this bank last declared them for the project."""
    for run in reversed(home.runs()):
        said, manifest = run.statistics, run.manifest
        is_of_project = manifest is not None and manifest.project == plan.project
        if is_of_project and said is not None and said.document.get("type") == "statistics_report":
            return max(parse(StatisticsReport, said.document).rows, 1)
    return UNKNOWN_ROWS
