"""The auditor's door: a run's history as one file that verifies without the portal, and as a table."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from audit.models import Entry
from audit.selectors import entries_of, epoch, head_of
from audit.services import utc_text
from clientagent.wire.messages import Head
from clientagent.wire.signing import sign_document
from institutions.portal_key import portal_key
from rounds.models import Run

FORMAT = "fedportal-history/1"
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
