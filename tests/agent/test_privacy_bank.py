"""A bank as a whole: its updates are cut before they leave, and its own books know what a project has cost it."""

from __future__ import annotations

import numpy as np
import pytest

from clientagent.portal import Portal
from clientagent.privacy.desk import PrivacyDesk, ledger_of
from clientagent.transport import Transport
from clientagent.wire.errors import BudgetExceeded
from clientagent.wire.ledger import GENESIS
from clientagent.wire.messages import BankPrivacy, Unfit, UpdateManifest
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.signing import open_signed, parse
from clientagent.wire.tensors import unpack
from tests.agent.given import POLICY, one_bank_plan, run_agent
from tests.agent.test_cli import as_json, fedagent

NOISED = {
    "training__epochs": 1, "strategy__weighting": "equal",
    "privacy": {"min_banks": 1, "min_banks_reason": "a test", "institution_dp": {"epsilon": 8.0, "clip": 0.01}},
}  # fmt: skip


def test_updates_are_cut_and_booked(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    run_agent(home)
    assert portal.stage == "done"
    norms = [float(np.linalg.norm(unpack(data, portal.layout).astype(np.float64))) for data in portal.updates]
    assert all(0.0099 < norm <= 0.01 for norm in norms)
    book = ledger_of(home, "project:retail-credit").book
    assert book.run(portal.run).updates == 2
    assert book.run(portal.run).closed
    assert 0 < book.epsilon() <= 8.0


def test_receipts_tell_the_bank_what_was_cut_and_the_portal_does_not_know(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    run_agent(home)
    updates = [row for row in as_json("receipts", home=home)[1] if row["subject"] == "update"]
    assert all(row["norm_before"] > row["bank"]["clip"] >= row["norm"] for row in updates)
    assert [row["bank"]["clipped"] for row in updates] == [True, True]
    spent = [row["bank"]["epsilon_of_run"] for row in updates]
    assert 0 < spent[0] < spent[1] <= 8.0
    assert spent[1] == ledger_of(home, "project:retail-credit").book.epsilon()
    assert updates[1]["bank"]["epsilon_of_this"] == spent[1] - spent[0]
    for row in updates:
        assert f"{row['norm_before']:.10g}" not in str([one.document for one in portal.statements])
        assert "this update was cut" in fedagent("receipts", row["id"], home=home).stdout


def test_a_bank_whose_own_bound_is_too_small_declines(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    home.policy_path.write_text(POLICY.replace("[data.", "max_institution_epsilon = 2.0\n[data."))
    run_agent(home)
    assert portal.updates == []
    refusal = next(one for one in portal.statements if one.document["type"] == "unfit")
    assert "max_institution_epsilon" in open_signed(refusal, portal.agent, Unfit).reason


def refused(portal) -> list[str]:
    return [one.document.get("code") or one.document.get("reason", "") for one in portal.statements
            if one.document["type"] in ("unfit", "work_refusal")]  # fmt: skip


def test_a_bank_shows_where_its_books_stand_before_each_round_and_keeps_the_countersignature(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    run_agent(home)
    ledger = ledger_of(home, "project:retail-credit")
    shown = [parse(BankPrivacy, one.document) for one in portal.statements if one.document["type"] == "bank_privacy"]
    assert [one.project for one in shown] == ["retail-credit"] * 3  # once allotted, and before each of two rounds
    assert [one.epsilon == 0 for one in shown] == [True, False, False]
    assert all(one.epsilon <= one.promised <= 8.0 for one in shown)
    assert ledger.seen.unit == "institution"
    assert 0 < ledger.seen.seq < ledger.seq


def test_a_bank_whose_own_books_exceed_the_projects_budget_declines(serve, bank):
    portal = serve(**NOISED)
    portal.project_budget = 7.0
    home = bank(portal)
    run_agent(home)
    assert portal.updates == []
    assert "its budget" in refused(portal)[0]
    assert ledger_of(home, "project:retail-credit").book.run(portal.run).closed, "what was set aside is free again"


def test_the_bank_reads_what_a_run_would_take_before_it_says_yes(serve, bank):
    portal = serve(**NOISED)
    portal.project_budget = 9.0
    home = bank(portal)
    run_agent(home, once=True)  # the plan is known, nothing is spent
    row = as_json("plans", "show", portal.plan.hash, home=home)[1]["privacy"][0]
    assert (row["unit"], row["subject"], row["now"], row["bound"]) == ("institution", "retail-credit", 0.0, None)
    assert 7.9 < row["after"] <= 8.0
    run_agent(home)
    told = fedagent("plans", "show", portal.plan.hash, home=home).stdout
    assert "the bound is 9" in told
    assert "this bank would decline" in told


def test_a_bank_that_was_restored_from_a_backup_sends_nothing(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    run_agent(home, once=True)  # the plan
    run_agent(home, once=True)  # the statistics: the run is set aside
    path = home.privacy_path / "project-retail-credit.jsonl"
    before = path.read_bytes()
    run_agent(home, once=True)
    assert len(portal.updates) == 1
    path.write_bytes(before)
    run_agent(home)
    assert len(portal.updates) == 1
    assert refused(portal) == ["privacy_ledger_locked"]


def test_a_portal_that_forgot_what_it_countersigned_locks_the_bank(serve, bank):
    portal = serve(**NOISED)
    home = bank(portal)
    for _ in range(3):
        run_agent(home, once=True)
    portal.shown = portal.shown.model_copy(update={"seq": 0, "hash": GENESIS})
    run_agent(home)
    assert len(portal.updates) == 1
    assert refused(portal) == ["privacy_ledger_locked"]


ADAPTIVE = {
    "training__epochs": 1, "strategy__weighting": "equal", "schedule__quorum": 0.02,
    "participants": ["north", *(f"bank-{i}" for i in range(49))],
    "privacy": {"min_banks": 1, "min_banks_reason": "a test", "institution_dp": {"epsilon": 8.0, "clip": "adaptive"}},
}  # fmt: skip


def test_an_update_is_cut_to_the_clip_that_its_order_names(serve, bank):
    portal = serve(**ADAPTIVE)
    portal.clips = {0: 0.1, 1: 0.095, 2: 0.09}
    home = bank(portal)
    run_agent(home)
    said = [parse(UpdateManifest, one.document) for one in portal.statements if one.document["type"] == "update_manifest"]
    norms = [work.norms for work in home.run(portal.run).works() if work.norms]
    assert [own.clip for own in norms] == [0.1, 0.095]
    assert [one.within_clip for one in said] == [own.before <= own.clip for own in norms]
    assert all(one.norm <= own.clip for one, own in zip(said, norms, strict=True))
    book = ledger_of(home, "project:retail-credit").book
    assert [event.clip for event in book.run(portal.run).events] == [0.1, 0.095]
    assert 0 < book.epsilon() <= 8.0


@pytest.mark.parametrize("clip", [0.2, 0.01, None])
def test_a_clip_that_no_count_can_have_led_to_is_refused(serve, bank, clip):
    portal = serve(**ADAPTIVE)
    portal.clips = {0: clip, 1: clip}
    home = bank(portal)
    run_agent(home)
    assert portal.updates == []
    assert "privacy_unsound" in [one.document.get("code") for one in portal.statements]


# ------------------------------------------------------------------ noise in shares
SHARED = {
    "participants": ["north", "south", "east"], "strategy__weighting": "equal", "schedule__rounds": 2,
    "privacy": {"institution_dp": {"epsilon": 8.0, "clip": 0.01}, "secure_aggregation": {"threshold": 0.67}},
}  # fmt: skip
RUN = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def desk(serve, bank):
    portal = serve()
    home = bank(portal)
    transport = Transport(portal.url, home.key, patience_s=2)
    desk = PrivacyDesk(home, Portal(transport, home))
    plan = one_bank_plan(**SHARED)
    desk.allot_bank(plan, run=RUN)
    yield desk, plan
    transport.close()


def leave(desk, plan, base, cohort):
    desk.bank_leaving(plan, run=RUN, base_digest=base * 64, cohort=cohort * 64)


def test_a_vector_is_charged_once_for_its_cohort_and_again_for_another(desk):
    desk, plan = desk
    book = desk.project(plan.project).book
    desk.reserve_bank(plan, run=RUN, base_digest="a" * 64)
    assert book.epsilon() == 0  # trained, and nothing has left
    leave(desk, plan, "a", "1")
    once = book.epsilon()
    leave(desk, plan, "a", "1")
    assert book.epsilon() == once > 0
    leave(desk, plan, "a", "2")
    assert once < book.epsilon() < 2 * once
    assert book.run(RUN).updates == 2


def test_repeated_sums_stay_within_the_plans_epsilon_and_then_stop(desk):
    desk, plan = desk
    terms = institution_terms(plan)
    assert terms.updates == 3  # two rounds, and one sum more
    for cohort in "123":
        leave(desk, plan, "a", cohort)
    assert desk.project(plan.project).book.epsilon() <= 8.0
    with pytest.raises(BudgetExceeded, match="at most 3 updates"):
        desk.reserve_bank(plan, run=RUN, base_digest="b" * 64)  # before it would be trained in vain
    with pytest.raises(BudgetExceeded, match="at most 3 updates"):
        leave(desk, plan, "b", "4")
