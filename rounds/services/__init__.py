"""Verbs that write: keyword-only, one durable transaction each, returning the thing."""

from rounds.services.appraisals import accept_appraisal
from rounds.services.bank_privacy import meet_bank
from rounds.services.budgets import set_budget
from rounds.services.closing import close_round
from rounds.services.cohorts import accept_ready, close_stage, form_cohort, hear
from rounds.services.collection import collect
from rounds.services.control import drop_bank, extend_deadline, pause_run, resume_run, stop_run
from rounds.services.decisions import approve_in_portal, record_decision
from rounds.services.endings import abandon_round, end_early, finish_run, give_up_round
from rounds.services.evaluations import accept_evaluation, acknowledge_result
from rounds.services.leases import claim_round, give_back_lease, renew_lease
from rounds.services.plans import create_project, freeze_plan
from rounds.services.preparation import begin_run, fail_run, prepare_run
from rounds.services.privacy import take_report_statement, take_update_statement
from rounds.services.privacy_ledgers import confirm_reconciliation, countersigned
from rounds.services.progress import note_download, note_progress
from rounds.services.proposals import propose_run
from rounds.services.publishing import publish_counts, publish_version
from rounds.services.refusals import record_refusal, refuse_work
from rounds.services.registry import promote_version, register_version, reinstate_version, retire_version, roll_back
from rounds.services.reports import attach_leak_test, attach_rehearsal
from rounds.services.slots import take_slot
from rounds.services.statistics import accept_statistics
from rounds.services.summing import (
    close_statistics_stage,
    form_statistics_cohort,
    give_up_statistics_cohort,
    hear_statistics,
    take_vector,
)
from rounds.services.updates import accept_update
from rounds.services.uploads import complete_upload, open_upload, receive_part

__all__ = [
    "abandon_round", "accept_appraisal", "accept_evaluation", "accept_ready", "accept_statistics", "accept_update", "acknowledge_result",
    "approve_in_portal", "attach_leak_test", "attach_rehearsal",
    "begin_run", "claim_round", "close_round", "close_stage", "close_statistics_stage", "collect", "complete_upload",
    "confirm_reconciliation", "countersigned", "create_project", "drop_bank", "end_early", "extend_deadline", "fail_run",
    "finish_run", "form_cohort", "form_statistics_cohort", "freeze_plan", "give_back_lease", "give_up_round",
    "give_up_statistics_cohort", "hear", "hear_statistics", "meet_bank", "note_download", "note_progress",
    "open_upload", "pause_run", "prepare_run", "promote_version", "propose_run", "publish_counts", "publish_version",
    "receive_part", "record_decision", "record_refusal", "refuse_work", "register_version", "reinstate_version", "renew_lease",
    "resume_run", "retire_version", "roll_back", "set_budget", "stop_run", "take_report_statement", "take_slot", "take_update_statement",
    "take_vector",
]
