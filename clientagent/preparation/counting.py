"""The statistics stage: this bank's sums for an approved plan, or the column that does not fit and why. Answered once a run."""

from __future__ import annotations

import logging

from clientagent.approval import require_approved
from clientagent.data import TableUnfit
from clientagent.files import write_document
from clientagent.home import Home
from clientagent.plugins import require_installed
from clientagent.portal import Portal
from clientagent.preparation.books import Books, Opened
from clientagent.preparation.statistics import statistics_report
from clientagent.privacy.desk import PrivacyDesk
from clientagent.privacy.statistics import protected_statistics
from clientagent.wire.errors import (
    BudgetExceeded,
    DataUnfit,
    PlanUnsupported,
    PolicyInvalid,
    PrivacyLedgerLocked,
    Refusal,
    StatisticsInvalid,
)
from clientagent.wire.masking import statistics_integers
from clientagent.wire.messages import ReceiptAnswer, StatisticsOrder, StatisticsReport, Unfit
from clientagent.wire.plan import Plan
from clientagent.wire.signing import parse, sign_document

UNFIT = (DataUnfit, PolicyInvalid, BudgetExceeded, PrivacyLedgerLocked, PlanUnsupported, StatisticsInvalid)
"""Why a bank cannot take part in a run that it approved."""

log = logging.getLogger("fedagent.statistics")


def answer_statistics(
    home: Home, portal: Portal, books: Books, desk: PrivacyDesk, order: StatisticsOrder
) -> ReceiptAnswer:
    """Count, sign, store, send. Raises ``PlanNotApproved``.

    Under record_dp this is where the whole run's privacy is set aside; a bank whose budget is too small declines the run here.
    """
    plan = require_approved(home, order.plan_hash)
    folder = home.run(order.run)
    signed = folder.statistics
    if signed is None:
        said = _report(home, portal, books, desk, plan, order)
        if plan.masks_statistics and isinstance(said, StatisticsReport):
            write_document(folder.plain_statistics, said)
            said = said.model_copy(update={"numeric": [], "categorical": []})
        signed = sign_document(said, home.key)
        folder.save_statistics(signed)
    if signed.document.get("privacy") is not None:
        desk.leaving(order.run, parse(StatisticsReport, signed.document).privacy)
    answer = portal.statistics(order.run, signed)
    desk.confront(answer.privacy)
    return answer


def _report(
    home: Home, portal: Portal, books: Books, desk: PrivacyDesk, plan: Plan, order: StatisticsOrder
) -> StatisticsReport | Unfit:
    identity = portal.identity
    try:
        if plan.model.is_plugin:
            require_installed(plan)
        opened = books.open(plan)
        report = statistics_report(
            plan, opened.table, opened.split, run=order.run, institution=identity.institution, salt=identity.agent_id
        )
        desk.allot_bank(plan, run=order.run)
        if plan.privacy.record_dp is not None:
            report = _protected(home, desk, plan, opened, report)
        if plan.masks_statistics:
            statistics_integers(plan, report)  # whether all of it can be summed
    except UNFIT as error:
        log.error("this bank cannot take part in a run of plan %s: %s. %s", plan.hash[:12], error.sentence, error.action)
        column = error.report.column if isinstance(error, TableUnfit) else ""
        return Unfit(
            run=order.run, plan_hash=plan.hash, institution=identity.institution, column=column, reason=public_reason(error)
        )
    log.info("statistics of %d training rows for plan %s", report.rows, plan.hash[:12])
    return report


def _protected(home: Home, desk: PrivacyDesk, plan: Plan, opened: Opened, report: StatisticsReport) -> StatisticsReport:
    """The same report with noise, where the plan gives the statistics a share of the budget."""
    releases = desk.allot(plan, run=report.run, rows=report.rows)
    if releases.terms.statistics_noise is None:
        return report
    release = releases.begin(None)
    sums = protected_statistics(plan, opened.table.take(opened.split.training), releases.terms, release.stream)
    if sums.positives is not None:
        releases.keep_positives(sums.positives)
    statement = releases.statement(release.name, home.key)
    return report.model_copy(update={"numeric": sums.numeric, "categorical": sums.categorical, "privacy": statement})


def public_reason(error: Refusal) -> str:
    """Why, in words that may leave the bank: no cell of the table and no line of the policy."""
    if isinstance(error, TableUnfit):
        return error.report.public_reason
    if isinstance(error, PolicyInvalid):
        return "the bank's policy.toml is not valid"
    return error.sentence[:2000]
