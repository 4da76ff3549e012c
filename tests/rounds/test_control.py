"""An administrator's actions: each needs a reason, each is on the ledger, none loses what was accepted."""

from __future__ import annotations

import json

import pytest

from audit.models import Entry
from clientagent.history.verify import verify_history
from clientagent.wire.errors import IllegalMove, Malformed, PlanInvalid
from clientagent.wire.plan import parse_plan
from institutions import services as institutions
from rounds import services
from rounds.exports.downloads import history
from rounds.models import Plan, Project, Run
from tests.rounds.scripted import make_federation, plan_document

pytestmark = pytest.mark.django_db


def history_verifies(run: Run) -> bool:
    return bool(verify_history(json.dumps(history(run)).encode()))


def test_a_paused_run_hands_out_no_work_but_takes_what_comes(running, admin):
    bank, run = running.banks[0], running.run
    order = bank.work()
    services.pause_run(run=run, user=admin, reason="maintenance at north")
    assert bank.work() is None
    run.refresh_from_db()
    assert bank.send(*bank.update(run, order, bank.difference(run, 1))).status_code == 200
    services.resume_run(run=run, user=admin, reason="done")
    for other in running.banks[1:]:
        other.train(run)
    assert running.advance().versions.count() == 2


def test_a_stopped_run_ends_and_says_why(running, admin):
    services.stop_run(run=running.run, user=admin, reason="wrong label")
    run = running.advance()
    assert (run.state, run.reason) == ("stopped", "wrong label")
    assert running.banks[0].work() is None
    with pytest.raises(IllegalMove):
        services.resume_run(run=run, user=admin, reason="again")
    entry = Entry.objects.get(chain_id=run.chain, kind="run_stopped")
    assert (entry.actor, entry.body["reason"]) == ("user:admin@consortium.example", "wrong label")


@pytest.mark.parametrize("verb", [services.pause_run, services.stop_run])
def test_a_reason_is_required(running, admin, verb):
    with pytest.raises(Malformed, match="reason"):
        verb(run=running.run, user=admin, reason="  ")


def test_a_dropped_bank_is_out_of_the_round(north, south, east, admin):
    federation = make_federation([north, south, east], admin, schedule={"rounds": 2, "quorum": 0.6})
    run = federation.begin()
    services.drop_bank(run=run, institution=east.institution, user=admin, reason="line is down")
    assert federation.banks[2].work() is None
    run = federation.round(banks=federation.banks[:2])
    assert run.versions.count() == 2
    assert federation.banks[2].work()["round"] == 2


def test_a_bank_that_is_dropped_after_its_update_came_is_not_in_the_version(north, south, east, admin):
    federation = make_federation([north, south, east], admin, schedule={"rounds": 2, "quorum": 0.6, "min_wait_s": 3600})
    run = federation.begin()
    federation.round(banks=[federation.banks[2], federation.banks[0]])
    services.drop_bank(run=run, institution=east.institution, user=admin, reason="wrong table")
    federation.round(banks=[federation.banks[1]])
    assert run.versions.count() == 2
    entries = run.rounds.get(number=1).aggregation["entries"]
    assert [entry["institution"] for entry in entries] == ["north", "south"]
    assert not run.rounds.get(number=2).counted.exists()
    assert history_verifies(run)


def test_a_deadline_is_extended(running, admin):
    before = running.run.rounds.get().deadline_at
    services.extend_deadline(run=running.run, seconds=120, user=admin, reason="slow line")
    assert (running.run.rounds.get().deadline_at - before).total_seconds() == 120


def test_the_same_plan_is_frozen_once(federation, admin):
    plan = Plan.objects.get()
    again = services.freeze_plan(project=plan.project, plan=plan.document, user=admin)
    assert again.pk == plan.pk


def test_a_plan_whose_choices_do_not_go_together_is_refused_by_name(federation, admin):
    masked = {"privacy": {"secure_aggregation": {"threshold": 0.67}}, "evaluation": {"segment": "region"}}
    wish = parse_plan(plan_document(["north", "south", "east"], **masked))
    with pytest.raises(PlanInvalid, match="evaluation.segment"):
        services.freeze_plan(project=Project.objects.get(), plan=wish, user=admin)


def test_a_plan_for_strangers_is_refused(federation, outsider, admin):
    wish = parse_plan(plan_document(["north", "south", "outsider"]))
    with pytest.raises(PlanInvalid, match="outsider"):
        services.freeze_plan(project=Project.objects.get(), plan=wish, user=admin)


def test_a_suspended_bank_cannot_be_asked(federation, north, admin):
    institutions.suspend_institution(institution=north.institution, by=admin, reason="audit finding")
    with pytest.raises(PlanInvalid, match="north"):
        services.propose_run(plan=Plan.objects.get(), user=admin)


def test_an_operators_click_reaches_the_agent_once(federation, north, admin):
    bank = federation.banks[0]
    assert bank.work()["portal_approval"] is False
    bank.decide("pending")
    assert bank.work() is None
    services.approve_in_portal(plan=Plan.objects.get(), institution=north.institution, user=north.operator)
    assert bank.work()["portal_approval"] is True
    bank.decide()
    assert bank.work() is None


def test_a_standing_word_counts_for_the_next_run_of_the_same_plan(running, admin):
    run = services.propose_run(plan=running.run.plan, user=admin)
    assert set(run.seats.values_list("state", flat=True)) == {"approved"}
