"""When a round closes, when it is given up, and what a run does about it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit.models import Entry
from rounds import services
from rounds.clock import now
from rounds.models import Round, Run
from tests.rounds.scripted import Federation, make_federation

pytestmark = pytest.mark.django_db


def _let_pass(run: Run) -> None:
    """The deadline of whatever is open lies in the past."""
    past = now() - timedelta(seconds=1)
    Round.objects.filter(run=run, state="open").update(deadline_at=past)
    Run.objects.filter(pk=run.pk, deadline_at__isnull=False).update(deadline_at=past)


@pytest.fixture
def two_of_three(north, south, east, admin) -> Federation:
    schedule = {"rounds": 2, "quorum": 0.6}
    federation = make_federation([north, south, east], admin, schedule=schedule)
    federation.begin()
    return federation


def test_a_full_quorum_waits_for_everybody(running):
    run = running.round(banks=running.banks[:2])
    assert run.versions.count() == 1
    run = running.round(banks=running.banks[2:])
    assert run.versions.count() == 2


def test_a_quorum_of_two_closes_with_two(two_of_three):
    run = two_of_three.round(banks=two_of_three.banks[:2])
    assert run.versions.count() == 2
    entries = run.rounds.get(number=1).aggregation["entries"]
    assert len(entries) == 2
    assert sum(entry["weight"] for entry in entries) == pytest.approx(1)


def test_a_required_bank_is_waited_for(north, south, east, admin):
    schedule = {"rounds": 2, "quorum": 0.6, "required": ["east"]}
    federation = make_federation([north, south, east], admin, schedule=schedule)
    federation.begin()
    assert federation.round(banks=federation.banks[:2]).versions.count() == 1
    assert federation.round(banks=federation.banks[2:]).versions.count() == 2


def test_below_quorum_at_the_deadline_the_next_attempt_opens(running):
    running.round(banks=running.banks[:1])
    _let_pass(running.run)
    running.advance()
    states = list(running.run.rounds.values_list("attempt", "state"))
    assert states == [(1, "abandoned"), (2, "open")]
    assert "waiting for" in running.run.rounds.get(attempt=1).reason
    assert running.round().versions.count() == 2


def test_after_three_attempts_the_run_pauses_and_says_why(running, admin):
    for _ in range(3):
        _let_pass(running.run)
        running.advance()
    assert running.run.state == "paused"
    assert "waiting for east, north, south" in running.run.reason
    services.resume_run(run=running.run, user=admin, reason="the banks are back")
    assert running.run.rounds.filter(state="open", attempt=4).exists()
    running.run.refresh_from_db()
    assert running.round().versions.count() == 2


def test_a_run_that_nobody_answers_fails_at_its_deadline(federation):
    federation.banks[0].decide()
    _let_pass(federation.run)
    run = federation.advance()
    assert run.state == "failed"
    assert "No answer: east, south" in run.reason


def test_a_refusal_that_makes_the_quorum_impossible_fails_the_run_at_once(federation):
    federation.banks[1].decide("refused", "not with this label")
    run = federation.advance()
    assert run.state == "failed"
    assert "south (not with this label)" in run.reason


def test_statistics_that_do_not_come_fail_the_run_and_name_the_bank(federation):
    for bank in federation.banks:
        bank.decide()
    federation.advance()
    for bank in federation.banks[:2]:
        bank.count(federation.run)
    _let_pass(federation.run)
    run = federation.advance()
    assert (run.state, "east" in run.reason) == ("failed", True)


def test_min_wait_keeps_a_round_open(north, south, east, admin):
    schedule = {"rounds": 2, "quorum": 0.6, "min_wait_s": 3600}
    federation = make_federation([north, south, east], admin, schedule=schedule)
    federation.begin()
    assert federation.round(banks=federation.banks[:2]).versions.count() == 1
    Round.objects.filter(run=federation.run).update(opened_at=now() - timedelta(hours=2))
    assert federation.advance().versions.count() == 2


def test_a_closing_evaluation_that_does_not_come_does_not_keep_the_run_open(running):
    running.round()
    run = running.round(seed=9)
    order = running.banks[0].work()
    running.banks[0].evaluate(order)
    assert running.advance().state == "running"
    _let_pass(run)
    run = running.advance()
    assert run.state == "finished"
    assert run.versions.get(number=2).pooled is None  # one bank alone is not published
    assert run.selected.number == 1


def test_the_result_is_the_version_with_the_lowest_pooled_validation_loss(running):
    running.finish()
    run = running.run
    known = {v.number: v.validation_loss for v in run.versions.filter(number__gt=0)}
    assert run.selected.number == min(known, key=lambda n: (known[n], n))


def test_patience_ends_a_run_that_no_longer_improves(north, south, east, admin):
    schedule = {"rounds": 20, "patience": 2}
    federation = make_federation([north, south, east], admin, schedule=schedule)
    federation.begin()
    run = federation.finish()  # every version is scored alike, so none improves on the first
    assert run.state == "finished"
    assert run.versions.count() == 5
    assert run.selected.number == 1


def test_a_lost_workers_round_is_computed_by_another(running):
    for i, bank in enumerate(running.banks):
        bank.train(running.run, seed=i)
    round_ = running.run.rounds.get()
    services.close_round(round_=round_)
    assert services.claim_round(round_=round_, owner="lost")
    running.advance()
    assert running.run.versions.count() == 1  # its lease still holds
    Round.objects.filter(pk=round_.pk).update(lease_until=now() - timedelta(seconds=1))
    assert running.advance().versions.count() == 2


def test_every_step_is_on_the_ledger(running):
    running.finish()
    kinds = list(Entry.objects.filter(chain_id=running.run.chain).order_by("seq").values_list("kind", flat=True))
    assert kinds[0] == "run_proposed"
    assert kinds.count("plan_decided") == 3
    assert kinds.count("update_accepted") == 6
    assert kinds.count("round_closed") == 2
    assert kinds[-1] == "run_finished"
