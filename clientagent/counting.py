"""The statistics stage: this bank's sums for an approved plan, or the column that does not fit and why. Answered once a run."""

from __future__ import annotations

import logging

from clientagent.approval import require_approved
from clientagent.books import Books
from clientagent.data import TableUnfit
from clientagent.home import Home
from clientagent.portal import Portal
from clientagent.statistics import statistics_report
from clientagent.wire.errors import DataUnfit, PolicyInvalid, Refusal
from clientagent.wire.messages import ReceiptAnswer, StatisticsOrder, StatisticsReport, Unfit
from clientagent.wire.plan import Plan
from clientagent.wire.signing import sign_document

log = logging.getLogger("fedagent.statistics")


def answer_statistics(home: Home, portal: Portal, books: Books, order: StatisticsOrder) -> ReceiptAnswer:
    """Count, sign, store, send. Raises ``PlanNotApproved``."""
    plan = require_approved(home, order.plan_hash)
    folder = home.run(order.run)
    signed = folder.statistics
    if signed is None:
        signed = sign_document(_report(portal, books, plan, order), home.key)
        folder.save_statistics(signed)
    return portal.statistics(order.run, signed)


def _report(portal: Portal, books: Books, plan: Plan, order: StatisticsOrder) -> StatisticsReport | Unfit:
    identity = portal.identity
    try:
        opened = books.open(plan)
    except (DataUnfit, PolicyInvalid) as error:
        log.error("the data do not fit plan %s: %s. %s", plan.hash[:12], error.sentence, error.action)
        column = error.report.column if isinstance(error, TableUnfit) else ""
        return Unfit(
            run=order.run, plan_hash=plan.hash, institution=identity.institution, column=column, reason=public_reason(error)
        )
    report = statistics_report(
        plan, opened.table, opened.split, run=order.run, institution=identity.institution, salt=identity.agent_id
    )
    log.info("statistics of %d training rows for plan %s", report.rows, plan.hash[:12])
    return report


def public_reason(error: Refusal) -> str:
    """Why, in words that may leave the bank: no cell of the table and no line of the policy."""
    if isinstance(error, TableUnfit):
        return error.report.public_reason
    if isinstance(error, PolicyInvalid):
        return "the bank's policy.toml is not valid"
    return error.sentence[:2000]
