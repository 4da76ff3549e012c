"""What an operator sees of privacy on the command line, and how a restored backup is reconciled."""

from __future__ import annotations

import json

import pytest

from clientagent.privacy.desk import ledger_of
from clientagent.wire.messages import PrivacyPosition, SpentRelease
from tests.agent.given import run_agent
from tests.agent.portal_double import Reply
from tests.agent.test_cli import as_json, fedagent
from tests.agent.test_privacy_work import manifests, private, report


@pytest.fixture
def spent(serve, bank):
    """A bank after a private run."""
    portal = serve(**private())
    home = bank(portal)
    run_agent(home)
    return portal, home


def test_spending_and_receipts_are_shown(spent):
    portal, home = spent
    assert "Nothing was spent" not in fedagent("privacy", home=home).stdout
    lineage = as_json("privacy", home=home)[1][0]
    assert lineage["lineage"] == "retail"
    assert lineage["epsilon"] == pytest.approx(manifests(portal)[-1].privacy.run_epsilon)
    assert lineage["runs"][0]["state"] == "closed"
    rows = sorted(as_json("receipts", home=home)[1], key=lambda row: row["round"])
    updates = [row for row in rows if row["subject"] == "update"]
    assert 0 < updates[0]["privacy"]["epsilon_of_run"] < updates[1]["privacy"]["epsilon_of_run"] <= 2.0
    assert all(0 <= row["privacy"]["clip_share"] <= 1 for row in updates)


def test_one_receipt_says_what_clipping_did_and_that_only_this_bank_knows(spent):
    portal, home = spent
    row = [row for row in as_json("receipts", home=home)[1] if row["subject"] == "update"][-1]
    assert row["privacy"]["mean_norm"] > 0
    assert row["norm_before"] == row["norm"] > 0
    assert as_json("receipts", row["id"][:8], home=home) == (0, row)
    told = fedagent("receipts", row["id"], home=home).stdout
    for said in ("update_digest", "agent_key", "portal_key", "entry_hash"):
        assert row[said] in told
    assert "of the drawn rows cut" in told
    assert "known to this bank only" in told
    signed = str([one.document for one in portal.statements])
    assert "mean_norm" not in signed
    assert "clip_share" not in signed


def test_an_unknown_receipt_is_refused_by_name(spent):
    code, problem = as_json("receipts", "ffffffff-none", home=spent[1])
    assert (code, problem["code"]) == (1, "not_found")


def test_a_restored_backup_is_reconciled_by_hand(spent):
    portal, home = spent
    path = home.privacy_path / "retail.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    events = [report(portal).privacy.event, *(manifest.privacy.event for manifest in manifests(portal))]
    position = PrivacyPosition(
        countersigned=None, locked=True, epoch=0, ended=[], releases=[SpentRelease(run=portal.run, event=event) for event in events]
    )
    portal.intercept = lambda request: (
        Reply(200, json.dumps(position.model_dump(mode="json")).encode()) if "/privacy?subject=retail" in request.path else None
    )
    assert fedagent("privacy", "reconcile", "--lineage", "retail", "--reason", " ", home=home).returncode == 1
    _, result = as_json("privacy", "reconcile", "--lineage", "retail", "--reason", "The disk was replaced.", home=home)
    assert result["charged"] == 3
    assert result["epsilon"] == pytest.approx(manifests(portal)[-1].privacy.run_epsilon)
    assert ledger_of(home, "retail").book.epoch == 1
