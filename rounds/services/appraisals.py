"""A bank's appraisal of the result: checked against what it declared, stored once, receipted."""

from __future__ import annotations

from django.db import transaction

from clientagent.wire.errors import BaseMismatch, CountsInvalid, IllegalMove, ManifestMismatch
from clientagent.wire.messages import Appraisal as AppraisalDocument
from clientagent.wire.messages import SplitCounts
from clientagent.wire.metrics import from_sparse
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds.clock import now
from rounds.lifecycle import RunState
from rounds.models import Appraisal, Receipt, Run
from rounds.services.evaluations import seated
from rounds.services.moves import actor_of_agent, hint_after_commit, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement


@transaction.atomic(durable=True)
def accept_appraisal(*, identity: AgentIdentity, statement: Signed) -> Receipt:
    """Accept what a bank says of its run's result.

    Raises ``CountsInvalid``, ``IllegalMove`` (no result, or appraised before otherwise), ``BaseMismatch`` or ``ManifestMismatch``.
    """
    found = open_statement(statement, identity, AppraisalDocument)
    run = seated(identity, found.run).run
    if receipt := earlier_receipt(identity, statement):
        return receipt
    if found.manifest_digest != run.manifest_digest:
        raise ManifestMismatch(expected=run.manifest_digest[:16], got=found.manifest_digest[:16])
    if run.state != RunState.FINISHED or run.selected is None:
        raise IllegalMove(expected="a finished run", got=run.state)
    if (found.number, found.version_digest) != (run.selected.number, run.selected.digest):
        raise BaseMismatch(expected=f"version {run.selected.number}", got=f"version {found.number}")
    check_appraisal(run, identity.institution_slug, found)
    _row, made = Appraisal.objects.get_or_create(
        version=run.selected, institution_id=identity.institution_id,
        defaults={"document": found.model_dump(mode="json"), "received_at": now()},
    )
    if not made:
        raise IllegalMove(expected="one appraisal of a result", got="a second one")
    entry = record(
        run, "result_appraised",
        {"institution": identity.institution_slug, "number": found.number, "statement_digest": statement.digest},
        actor=actor_of_agent(identity.agent_id),
    )
    hint_after_commit(run)
    return issue_receipt(identity=identity, statement=statement, subject="appraisal", entry=entry, run=run)


def check_appraisal(run: Run, slug: str, found: AppraisalDocument) -> None:
    """Counts are of the rows that the bank declared, groups of its hold-out, and each group comes once. Raises ``CountsInvalid``."""
    declared, plan = run.roster[slug], run.plan.document
    if found.training is not None:
        _require(found.training, declared.rows, plan.evaluation.bins)
    if (found.segment or found.groups) and found.segment != plan.evaluation.segment:
        raise CountsInvalid(expected=f"groups of {plan.evaluation.segment}", got=f"groups of {found.segment}")
    names = [group.group for group in found.groups]
    if len(set(names)) != len(names):
        raise CountsInvalid(expected="each group once", got=", ".join(names)[:200])
    for group in found.groups:
        _require(group.holdout, group.holdout.rows, plan.evaluation.bins)
    if sum(group.holdout.rows for group in found.groups) > declared.holdout_rows:
        raise CountsInvalid(expected=f"groups of {declared.holdout_rows} hold-out rows", got="more rows")
    if found.gain is not None and found.gain.rows != declared.holdout_rows:
        raise CountsInvalid(expected=f"{declared.holdout_rows} hold-out rows as declared", got=str(found.gain.rows))


def _require(split: SplitCounts, rows: int, bins: int) -> None:
    if split.rows != rows:
        raise CountsInvalid(expected=f"{rows} rows as declared", got=str(split.rows))
    from_sparse(split, bins)
