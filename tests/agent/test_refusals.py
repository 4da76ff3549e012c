"""What the agent does not do: for a plan not approved, a manifest not as agreed, a base that changed, a ledger rewritten."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from clientagent.cli import app
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.messages import PlanDocument, RunManifest, Unfit, WorkOrder, WorkRefusal
from clientagent.wire.signing import parse
from tests.agent.given import POLICY, run_agent, write_table
from tests.agent.portal_double import Reply


def changed(of, **fields):
    """A portal that signs this kind of document with other fields."""
    return lambda document: document.model_copy(update=fields) if isinstance(document, of) else document


def said(portal, kind):
    return [statement.document for statement in portal.statements if statement.document["type"] == kind]


def refusal(portal) -> WorkRefusal:
    (document,) = said(portal, "work_refusal")
    return parse(WorkRefusal, document)


# ------------------------------------------------------------------------- plans
def test_a_plan_that_nobody_approved_waits_and_no_row_is_counted(portal, bank):
    home = bank(portal)
    home.policy_path.write_text(POLICY.replace("retail-credit", "other", 1))
    run_agent(home)
    (word,) = said(portal, "decision")
    assert (word["decision"], word["by"]) == ("pending", "policy")
    portal.next_stage("statistics")
    run_agent(home, once=True)
    assert said(portal, "statistics_report") == []


def test_an_agent_that_can_keep_nothing_lives_until_it_can(portal, bank):
    """As on a full disk: neither the plan nor the note that it could not be kept can be written."""
    home = bank(portal)
    places = [home.path / "plans", home.path / "activity.json"]
    places[0].write_text("not a folder")
    (places[1] / "in the way").mkdir(parents=True)
    run_agent(home, once=True)
    assert said(portal, "decision") == []
    shutil.rmtree(places[1])
    places[0].unlink()
    run_agent(home)
    assert [word["decision"] for word in said(portal, "decision")] == ["approved"]


def test_pending_is_said_once(portal, bank):
    home = bank(portal)
    home.policy_path.write_text("")
    for _ in range(3):
        portal.next_stage("notice")
        run_agent(home)
    assert len({json.dumps(word) for word in said(portal, "decision")}) == 1


def test_an_approval_by_hand_sends_the_waiting_plan_on_its_way(portal, bank):
    home = bank(portal)
    home.policy_path.write_text(POLICY.replace("retail-credit", "other", 1))
    run_agent(home)
    done = CliRunner().invoke(app, ["plans", "approve", portal.plan.hash[:8], "--home", str(home.path)])
    assert done.exit_code == 0, done.output
    assert [word["by"] for word in said(portal, "decision")] == ["policy", "hand"]
    run_agent(home)
    assert portal.stage == "done"


def test_a_wider_policy_is_noticed_without_a_restart(portal, bank):
    home = bank(portal)
    home.policy_path.write_text("")
    run_agent(home)
    home.policy_path.write_text(POLICY)
    run_agent(home)
    assert [word["decision"] for word in said(portal, "decision")] == ["pending", "approved"]
    assert portal.stage == "done"


def test_a_hands_refusal_ends_it_even_in_the_middle_of_a_run(portal, bank):
    home = bank(portal)
    run_agent(home, once=True)
    run_agent(home, once=True)
    refuse = ["plans", "refuse", portal.plan.hash, "--reason", "not this quarter", "--home", str(home.path)]
    assert CliRunner().invoke(app, refuse).exit_code == 0
    portal.next_stage("train")
    run_agent(home)
    assert refusal(portal).code == "plan_not_approved"
    assert portal.updates == []


def test_a_plan_under_a_wrong_hash_is_refused_and_not_kept(portal, bank, serve):
    other = serve(schedule__rounds=3).plan
    home = bank(portal)
    portal.change = changed(PlanDocument, plan=other.model_dump(mode="json"))
    run_agent(home)
    (word,) = said(portal, "decision")
    assert word["decision"] == "refused"
    assert "plan_hash_mismatch" in word["reason"]
    assert home.plan_hashes() == []


def test_a_plan_that_this_version_cannot_read_is_refused_by_name(portal, bank):
    home = bank(portal)
    plan = portal.plan.model_dump(mode="json")
    portal.change = changed(PlanDocument, plan={**plan, "quantum": True})
    run_agent(home)
    assert "quantum" in said(portal, "decision")[0]["reason"]


# -------------------------------------------------------------------------- data
@pytest.mark.parametrize(
    ("columns", "column"),
    [({"income": None}, "income"), ({"income": ["secret-cell"] * 200}, "income"), ({"default": ["none"] * 200}, "default")],
)
def test_data_that_do_not_fit_are_named_by_column_and_no_cell_leaves(portal, bank, columns, column):
    home = bank(portal)
    write_table(home.path / "table.csv", **columns)
    run_agent(home)
    (document,) = said(portal, "unfit")
    assert parse(Unfit, document).column == column
    assert all(b"secret-cell" not in request.body for request in portal.requests)


def test_a_missing_table_is_said_without_its_path(portal, bank):
    home = bank(portal)
    (home.path / "table.csv").unlink()
    run_agent(home)
    assert said(portal, "unfit")
    assert all(str(home.path).encode() not in request.body for request in portal.requests)


def test_statistics_are_answered_once_with_the_same_bytes(portal, bank):
    home = bank(portal)
    run_agent(home, once=True)
    run_agent(home, once=True)
    portal.next_stage("statistics")
    write_table(home.path / "table.csv", seed=1)
    run_agent(home, once=True)
    reports = said(portal, "statistics_report")
    assert len(reports) == 2
    assert reports[0] == reports[1]


def test_a_table_that_changed_after_the_statistics_trains_nothing(portal, bank):
    home = bank(portal)
    run_agent(home, once=True)
    run_agent(home, once=True)
    write_table(home.path / "table.csv", seed=1)
    run_agent(home)
    assert refusal(portal).code == "data_unfit"
    assert "changed since" in refusal(portal).reason


# ---------------------------------------------------------------------- manifest
def own(**fields):
    """A portal whose manifest says something else of this bank."""

    def change(document):
        if not isinstance(document, RunManifest):
            return document
        return document.model_copy(update={"roster": [document.roster[0].model_copy(update=fields)]})

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed(RunManifest, run="0" * 8 + "-0000-0000-0000-" + "0" * 12),
        changed(RunManifest, project="other"),
        changed(RunManifest, rules_version=2),
        changed(RunManifest, preprocessing_digest="0" * 64),
        changed(RunManifest, inputs=3),
        changed(RunManifest, parameters=1),
        changed(RunManifest, initial_digest="0" * 64),
        changed(RunManifest, roster=[]),
        own(institution="south"),
        own(agent_id="0" * 8 + "-0000-0000-0000-" + "0" * 12),
        own(key_fingerprint="0" * 64),
        own(rows=1),
        own(validation_rows=1),
        own(holdout_rows=1),
        own(weight=0.5),
    ],
)
def test_one_changed_line_of_the_manifest_is_a_refusal(portal, bank, change):
    home = bank(portal)
    portal.change = change
    run_agent(home)
    assert refusal(portal).code == "manifest_mismatch"
    assert home.run(portal.run).pinned is None
    assert portal.updates == []


def test_a_manifest_of_another_plan_is_a_refusal(portal, bank):
    home = bank(portal)
    portal.change = changed(RunManifest, plan_hash="0" * 64)
    run_agent(home)
    assert refusal(portal).code == "plan_not_approved"


def test_a_manifest_that_changes_after_round_one_is_a_refusal(portal, bank):
    home = bank(portal)
    for _ in range(3):
        run_agent(home, once=True)
    portal.change = changed(WorkOrder, manifest_digest="0" * 64)
    run_agent(home)
    assert refusal(portal).code == "manifest_mismatch"
    assert len(portal.updates) == 1


# -------------------------------------------------------------------------- orders
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"institution": "south"}, "not_allowed"),
        ({"round": 7, "base_number": 6}, "round_unknown"),
        ({"base_bytes": 10**9}, "base_mismatch"),
        ({"base_digest": "0" * 64}, "base_mismatch"),
        ({"base_number": 1}, "base_mismatch"),
        ({"round": 3, "base_number": 2}, "round_unknown"),
        ({"kind": "evaluate", "base_number": 9}, "round_unknown"),
    ],
)
def test_an_order_that_does_not_fit_the_run_is_refused(portal, bank, fields, code):
    home = bank(portal)
    portal.change = changed(WorkOrder, **fields)
    run_agent(home)
    assert refusal(portal).code == code
    assert portal.updates == []


def test_a_second_base_for_one_round_is_refused(portal, bank):
    home = bank(portal)
    for _ in range(4):
        run_agent(home, once=True)
    assert portal.stage == "evaluate"
    portal.round, portal.number, portal.attempt = 2, 1, 2
    portal.versions[1] = (portal.versions[1] + 1).astype(np.float32)
    portal.next_stage("train")
    run_agent(home)
    assert refusal(portal).code == "base_mismatch"
    assert len(portal.updates) == 2


def test_another_attempt_from_the_same_base_is_done(portal, bank):
    home = bank(portal)
    for _ in range(3):
        run_agent(home, once=True)
    portal.round, portal.number, portal.attempt = 1, 0, 2
    del portal.versions[1]
    portal.next_stage("train")
    run_agent(home, once=True)
    assert len(portal.updates) == 2
    assert portal.updates[0] == portal.updates[1]


def test_a_file_that_is_not_the_promised_version_is_not_trained_from(portal, bank):
    home = bank(portal)
    for _ in range(3):
        run_agent(home, once=True)
    altered = Reply(200, portal.file(1)[:-1] + b"\x01")
    portal.intercept = lambda request: altered if "/models/" in request.path else None
    run_agent(home)
    assert refusal(portal).code == "digest_mismatch"


def test_an_order_that_the_portal_did_not_sign_is_nothing(portal, bank, serve):
    home = bank(portal)
    for _ in range(2):
        run_agent(home, once=True)
    true, portal.key = portal.key, serve().key
    run_agent(home, once=True)
    portal.key = true
    assert portal.updates == []
    assert said(portal, "work_refusal") == []


# -------------------------------------------------------------------------- ledger
def test_a_rewritten_ledger_stops_the_run_for_good(portal, bank):
    home = bank(portal)
    for _ in range(3):
        run_agent(home, once=True)
    entries = [entry for entry, _ in portal.entries]
    portal.entries.clear()
    for entry in entries:
        portal.record(entry.kind, {**entry.body, "rows": 1} if entry.kind == "update_accepted" else entry.body)
    for _ in range(2):
        portal.next_stage("train")
        run_agent(home, once=True)
    assert {word["code"] for word in said(portal, "work_refusal")} == {"ledger_broken"}
    assert len(portal.updates) == 1
    status = CliRunner().invoke(app, ["status", "--home", str(home.path)])
    assert f"Run {portal.run} is stopped here: ledger_broken" in status.output


def test_a_version_is_evaluated_once(portal, bank):
    home = bank(portal)
    run_agent(home)
    portal.next_stage("evaluate")
    run_agent(home, once=True)
    reports = said(portal, "evaluation_report")
    assert len(reports) == 2
    assert reports[0] == reports[1]
    portal.versions[2] = (portal.versions[2] + 1).astype(np.float32)
    portal.next_stage("evaluate")
    run_agent(home, once=True)
    assert refusal(portal).code == "base_mismatch"
    assert sha256_hex(portal.file(2)) != reports[0]["counts"]["version_digest"]
