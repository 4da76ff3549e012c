"""What a bank accepts: bounds in policy.toml, a person's word, a click it trusts; everything else waits."""

from __future__ import annotations

import pytest

from clientagent.policy import TEMPLATE, Policy, Verdict, decide, load_policy
from clientagent.wire.errors import DataUnfit, PolicyInvalid
from tests.wire.given import a_plan

BANKS = {"project": "retail-credit", "participants": ["north", "south", "east", "west"]}
DATA = '[data."retail-credit"]\npath = "table.csv"\n'


def policy(tmp_path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return load_policy(path)


def verdict(rules: Policy, plan=None, **changes) -> Verdict:
    plan = plan or a_plan(**changes)
    return decide(plan, rules, institution="north", hand=None, portal_approval=False)


def test_the_template_accepts_nothing(tmp_path):
    assert policy(tmp_path, TEMPLATE) == Policy()


def test_every_bound_of_the_template_is_a_known_one(tmp_path):
    bounds = "\n".join(line.removeprefix("# ") for line in TEMPLATE.splitlines() if " = " in line or line.startswith("# ["))
    rules = policy(tmp_path, bounds.replace("trust_portal_approvals = false", "").replace("[data", "[data", 1).replace(
        "projects =", "[accept]\nprojects =", 1))  # fmt: skip
    assert rules.accept.max_rounds == 100
    assert rules.data["retail-credit"].path == "applications.parquet"


def test_a_missing_policy_accepts_nothing(tmp_path):
    assert load_policy(tmp_path / "none.toml") == Policy()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[accept\n", "line 1"),
        ("[accept]\nprojects = [\n", "end of document"),
        ("trust = true\n", "trust"),
        ("[accept]\nmax_round = 3\n", "accept.max_round"),
        ('[accept]\nmax_rounds = "many"\n', "accept.max_rounds"),
        ("[accept]\nmax_rounds = 0\n", "accept.max_rounds"),
        ("[accept]\nmin_banks = -1\n", "accept.min_banks"),
        ("[accept]\nmax_record_epsilon = nan\n", "accept.max_record_epsilon"),
        ('trust_portal_approvals = "yes"\n', "trust_portal_approvals"),
        ('[accept]\nprojects = ["Retail Credit"]\n', "accept.projects"),
        ('[data."retail-credit"]\nlineage = "x"\n', "path"),
    ],
)
def test_an_invalid_policy_names_the_line_or_the_key(tmp_path, text, named):
    with pytest.raises(PolicyInvalid) as refusal:
        policy(tmp_path, text)
    assert named in refusal.value.expected + refusal.value.got
    assert str(tmp_path / "policy.toml") in refusal.value.action


def test_bytes_that_are_no_text_are_a_policy_error(tmp_path):
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PolicyInvalid):
        load_policy(tmp_path / "policy.toml")


def test_a_plan_within_the_bounds_needs_no_hand(tmp_path):
    rules = policy(tmp_path, '[accept]\nprojects = ["retail-credit"]\nmax_rounds = 20\nmin_banks = 3\n' + DATA)
    assert verdict(rules) == Verdict("approved", "policy")


@pytest.mark.parametrize(
    ("bound", "changes", "reason"),
    [
        ('projects = ["fraud"]', {}, "project retail-credit"),
        ('projects = ["retail-credit"]\nfamilies = ["logistic"]', {}, "family mlp"),
        ('projects = ["retail-credit"]\nmax_rounds = 19', {}, "20 rounds"),
        ('projects = ["retail-credit"]\nmin_banks = 4', {}, "min_banks 3"),
        ('projects = ["retail-credit"]\nrequire_secure_aggregation = true', {}, "no secure aggregation"),
        ('projects = ["retail-credit"]\nrequire_record_dp = true', {}, "no differential privacy"),
    ],
)
def test_a_plan_beyond_a_bound_waits_and_the_reason_names_the_bound(tmp_path, bound, changes, reason):
    found = verdict(policy(tmp_path, f"[accept]\n{bound}\n{DATA}"), **changes)
    assert (found.decision, found.by) == ("pending", "policy")
    assert reason in found.reason


def test_an_empty_accept_means_by_hand(tmp_path):
    assert verdict(policy(tmp_path, "[accept]\n" + DATA)).decision == "pending"


def test_a_hands_word_stands_over_the_policy(tmp_path):
    rules = policy(tmp_path, '[accept]\nprojects = ["retail-credit"]\n' + DATA)
    no = Verdict("refused", "hand", "not this quarter")
    assert decide(a_plan(), rules, institution="north", hand=no, portal_approval=True) == no


@pytest.mark.parametrize(("trusted", "decision"), [("true", "approved"), ("false", "pending")])
def test_the_browsers_click_counts_only_where_the_bank_says_so(tmp_path, trusted, decision):
    rules = policy(tmp_path, f"trust_portal_approvals = {trusted}\n{DATA}")
    assert decide(a_plan(), rules, institution="north", hand=None, portal_approval=True).decision == decision


def test_what_this_version_cannot_run_is_refused_whatever_the_policy_says(tmp_path):
    rules = policy(tmp_path, '[accept]\nprojects = ["retail-credit"]\n' + DATA)
    plan = a_plan(privacy__secure_aggregation={}, compression__codec="topk")
    yes = Verdict("approved", "hand")
    found = decide(plan, rules, institution="north", hand=yes, portal_approval=True)
    assert found.decision == "refused"
    assert "compression.codec" in found.reason


def test_choices_that_do_not_go_together_are_refused_even_if_a_person_approved_them(tmp_path):
    rules = policy(tmp_path, '[accept]\nprojects = ["retail-credit"]\n' + DATA)
    plan = a_plan(strategy={"name": "krum", "byzantine": 3})
    found = decide(plan, rules, institution="north", hand=Verdict("approved", "hand"), portal_approval=True)
    assert found.decision == "refused"
    assert "krum needs at least 9 banks" in found.reason


def test_a_plan_without_this_bank_is_refused(tmp_path):
    found = decide(a_plan(), policy(tmp_path, DATA), institution="outsider", hand=None, portal_approval=False)
    assert found.decision == "refused"
    assert "outsider" in found.reason


def test_a_plan_without_a_table_waits(tmp_path):
    found = verdict(policy(tmp_path, '[accept]\nprojects = ["retail-credit"]\n'))
    assert (found.decision, found.reason) == ("pending", "policy.toml names no table for project retail-credit")


def test_without_torch_a_plan_that_trains_waits(tmp_path):
    rules = policy(tmp_path, '[accept]\nprojects = ["retail-credit"]\n' + DATA)
    ask = {"institution": "north", "hand": None, "portal_approval": False, "can_train": False}
    assert decide(a_plan(), rules, **ask).decision == "pending"
    assert decide(a_plan(training__epochs=0), rules, **ask).decision == "approved"
    newton = a_plan(strategy__name="newton", model={"family": "logistic"})
    assert decide(newton, rules, **ask).decision in ("approved", "refused")  # without torch a bank can sum


def test_a_tables_path_starts_in_the_policys_folder(tmp_path):
    rules = policy(tmp_path, DATA)
    assert rules.table_of("retail-credit", folder=tmp_path) == tmp_path / "table.csv"
    with pytest.raises(DataUnfit, match="fraud"):
        rules.table_of("fraud", folder=tmp_path)
