"""What can be taken away: a run's history, which verifies without the portal, and a version's evaluation."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, TypeVar

from django.http import HttpResponseBase

from audit.models import Entry
from audit.selectors import entries_of, epoch, head_of
from audit.services import utc_text
from clientagent.wire.evaluation import figures_of
from clientagent.wire.messages import Head
from clientagent.wire.scorecard import as_csv
from clientagent.wire.signing import sign_document
from institutions.portal_key import portal_key
from rounds.models import ModelVersion, Run
from rounds.selectors.appraisals import Appraisals, appraisals_of
from rounds.selectors.evaluation import Holder, scores_of
from rounds.selectors.features import features_page
from rounds.selectors.scope import Audience

FORMAT = "fedportal-history/1"
R = TypeVar("R", bound=HttpResponseBase)
COLUMNS = (
    "chain", "seq", "at_utc", "kind", "actor", "round", "attempt", "institution", "digest", "code", "reason", "hash", "body",
)


def history(run: Run) -> dict[str, Any]:
    """Everything ``fedagent verify`` needs: plan, manifest, preprocessing, the run's chain and its signed head."""
    entries = entries_of(run.chain)
    seq, hash_ = (entries[-1].seq, entries[-1].hash) if entries else head_of(run.chain)
    head = Head(chain=run.chain, seq=seq, hash=hash_, at_utc=utc_text(), epoch=epoch())
    return {
        "format": FORMAT,
        "run": {
            "id": str(run.pk), "number": run.number, "project": run.plan.project.slug, "plan_hash": run.plan.hash,
            "state": run.state, "reason": run.reason,
        },
        "portal_key": portal_key().public.text,
        "plan": run.plan.signed,
        "manifest": run.manifest,
        "preprocessing": run.preprocessing,
        "entries": [{"entry": row.sealed.model_dump(mode="json"), "hash": row.hash} for row in entries],
        "head": sign_document(head, portal_key()).model_dump(mode="json"),
    }


def history_csv(run: Run) -> str:
    """One line an entry, for a spreadsheet. A cell that a spreadsheet would run as a formula is quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in entries_of(run.chain):
        writer.writerow([_cell(value) for value in _row(row)])
    return text.getvalue()


def _row(row: Entry) -> list[Any]:
    body = row.body
    digest = body.get("update_digest") or body.get("digest") or body.get("statement_digest", "")
    return [
        row.chain_id, row.seq, row.at_utc, row.kind, row.actor, body.get("round", ""), body.get("attempt", ""),
        body.get("institution", ""), digest, body.get("code", ""), body.get("reason", ""), row.hash,
        json.dumps(body, ensure_ascii=False, sort_keys=True),
    ]


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def evaluation(version: ModelVersion, audience: Audience) -> dict[str, Any]:
    """Figures of a version with the counts that they follow from, as this audience may see them."""
    run, plan = version.run, version.run.plan.document
    scores, appraisals = scores_of(version, audience), appraisals_of(version, audience)
    return {
        "format": "fedportal-evaluation/1",
        "project": plan.project, "run": str(run.pk), "version": version.number, "digest": version.digest, "plan_hash": run.plan.hash,
        "alert_budget": plan.evaluation.alert_budget, "min_cell": plan.privacy.min_cell, "min_banks": plan.privacy.min_banks,
        "segment": appraisals.segment or None, "masked": scores.masked,
        "holders": [_scored(holder, appraisals) for holder in scores.holders],
        "gains": [
            {"institution": bank.slug, "contribution": bank.contribution, "gain": bank.gain and bank.gain.model_dump(mode="json")}
            for bank in appraisals.gains
        ],
        "mean_gain": appraisals.mean_gain,
    }  # fmt: skip


def _scored(holder: Holder, appraisals: Appraisals) -> dict[str, Any]:
    return {
        "institution": holder.slug or None, "figures": holder.figures, "stability": appraisals.stability_of(holder),
        "groups": [
            {"group": group.name or None, "banks": group.banks, "figures": figures_of(group.tally, budget=holder.budget),
             "holdout": group.tally.to_json()}
            for group in appraisals.groups_of(holder)
        ],
        "holdout": holder.tally.to_json(), "validation": holder.validation.to_json(),
    }  # fmt: skip


def features_csv(version: ModelVersion) -> str:
    """One line a bin: a scorecard's points, or how the customers of all banks lie."""
    page = features_page(version)
    if page.card:
        return as_csv(page.card)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("feature", "method", "bin", "share", "bad_share", "woe"))
    for row in page.rows:
        for line in row.bins:
            writer.writerow([_cell(row.name), row.method, _cell(line.bin), line.share, line.bad_share, line.woe])
    return text.getvalue()


def file_stem(version: ModelVersion) -> str:
    return f"{version.run.plan.project.slug}-run-{version.run.number}-v{version.number}"


def attached(response: R, name: str) -> R:
    """As a file to keep."""
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
