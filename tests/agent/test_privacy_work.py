"""A bank under record_dp, from the statistics order to the last update: what is booked, sent and refused."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from clientagent.privacy.desk import ledger_of
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.messages import StatisticsReport, Unfit, UpdateManifest
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.events import together
from clientagent.wire.signing import open_signed
from clientagent.wire.tensors import unpack
from tests.agent.given import POLICY, run_agent
from tests.agent.portal_double import Reply
from tests.agent.test_work import is_update, process


def private(**record):
    """One bank, two private rounds, statistics with noise."""
    return {
        "training__epochs": 1, "schedule__select": "last",
        "privacy": {
            "min_banks": 1, "min_banks_reason": "a test of one bank",
            "record_dp": {"epsilon": 2.0, "sampling": 0.2, "bounds": {"income": (0.0, 100.0)}, **record},
        },
    }  # fmt: skip


def manifests(portal):
    found = [one for one in portal.statements if one.document["type"] == "update_manifest"]
    return [open_signed(one, portal.agent, UpdateManifest) for one in found]


def report(portal):
    found = [one for one in portal.statements if one.document["type"] == "statistics_report"]
    return open_signed(found[-1], portal.agent, StatisticsReport)


def test_a_private_run_states_what_it_spent_and_books_it(serve, bank):
    portal = serve(**private())
    home = bank(portal)
    run_agent(home)
    assert portal.stage == "done"
    statements = [report(portal).privacy, *(manifest.privacy for manifest in manifests(portal))]
    events = [statement.event for statement in statements]
    assert [event.mechanism for event in events] == ["gaussian", "dp_sgd", "dp_sgd"]
    totals = [statement.run_epsilon for statement in statements]
    assert 0 < totals[0] < totals[1] < totals[2] <= 2.0
    assert totals[2] == epsilon_of(together(events), events[0].delta)
    book = ledger_of(home, "retail").book
    assert [left for _, left in book.run(portal.run).releases.values()] == [True, True, True]
    assert book.epsilon() == totals[2]


def test_nothing_but_noised_figures_of_the_rows_leaves(serve, bank):
    portal = serve(**private())
    run_agent(bank(portal))
    assert [manifest.train_loss for manifest in manifests(portal)] == [None, None]
    assert "clip_share" not in str(portal.statements)
    open_ = serve(training__epochs=1)
    run_agent(bank(open_))
    said, exact = report(portal), open_.report
    assert said.numeric[0].mean != exact.numeric[0].mean, "the same table, with noise"
    assert 0 <= said.numeric[0].mean <= 100


def test_two_banks_with_the_same_rows_send_different_noise(serve, bank):
    first, second = serve(**private()), serve(**private())
    run_agent(bank(first))
    run_agent(bank(second))
    assert not np.array_equal(unpack(first.updates[0], first.layout), unpack(second.updates[0], second.layout))


@pytest.mark.parametrize("phase", ["training", "uploading"])
def test_a_killed_agent_repeats_its_release_and_pays_once(serve, bank, phase):
    portal = serve(**private())
    home = bank(portal)
    sent = []
    portal.intercept = lambda request: sent.append(request.body) if is_update(request) else None
    faults = [{"round": 1, "phase": phase, "action": "kill"}]
    with process(home, "--until-idle", "0", faults=faults) as agent:
        assert agent.wait(60) == -signal.SIGKILL
    run_agent(home)
    assert portal.stage == "done"
    assert len(set(sent)) == 2
    assert ledger_of(home, "retail").book.run(portal.run).updates == 2


def test_a_repeated_attempt_sends_the_same_bytes_and_costs_nothing(serve, bank):
    portal = serve(**private())
    home = bank(portal)
    attempts = []

    def abandon(request):
        if not is_update(request) or attempts:
            return None
        attempts.append(request.body)
        portal.attempt = 2
        return Reply(422, b'{"code": "round_closed", "expected": "", "got": "", "action": ""}')

    portal.intercept = abandon
    run_agent(home)
    portal.next_stage("train")
    run_agent(home)
    assert portal.stage == "done"
    first = attempts[0][4 + int.from_bytes(attempts[0][:4], "big"):]
    assert sha256_hex(first) == sha256_hex(portal.updates[0])
    assert ledger_of(home, "retail").book.run(portal.run).updates == 2


def test_a_bank_whose_budget_is_too_small_declines_the_run(serve, bank):
    portal = serve(**private())
    home = bank(portal)
    home.policy_path.write_text(POLICY.replace('[data.', 'max_record_epsilon = 3.0\n[data.'))
    run_agent(home)
    second = serve(**private())
    home.policy_path.write_text(POLICY.replace('[data.', 'max_record_epsilon = 2.5\n[data.'))
    assert len(portal.updates) == 2
    other = bank(second)
    other.policy_path.write_text(home.policy_path.read_text())
    other.privacy_path.mkdir()
    for path in home.privacy_path.glob("retail.*"):
        (other.privacy_path / path.name).write_bytes(path.read_bytes())
    run_agent(other)
    assert second.updates == []
    refusals = [one for one in second.statements if one.document["type"] == "unfit"]
    assert "max_record_epsilon" in open_signed(refusals[0], second.agent, Unfit).reason


def test_a_family_without_private_gradients_is_refused_by_name():
    from clientagent.privacy.catalogue import gradients_of
    from tests.agent.private import private_plan

    with pytest.raises(PlanUnsupported):
        gradients_of(private_plan(model={"family": f"own@{'0' * 64}"}), inputs=3, features=2)
