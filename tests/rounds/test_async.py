"""Async: a full buffer makes a version, stale updates weigh less, and no bank waits for another."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest

from audit.selectors import verify
from clientagent.history.verify import verify_history
from clientagent.wire.errors import LedgerBroken
from rounds import services
from rounds.clock import now
from rounds.exports.downloads import history
from rounds.models import Round, Run, Update
from tests.rounds.scripted import Federation, make_federation, weights_of

pytestmark = pytest.mark.django_db


def _begin(banks, admin, **schedule) -> Federation:
    federation = make_federation(banks, admin, schedule={"mode": "async", "rounds": 4, "buffer": 2, **schedule})
    federation.begin()
    return federation


@pytest.fixture
def flowing(north, south, east, admin) -> Federation:
    return _begin([north, south, east], admin)


def test_a_full_buffer_makes_a_version(flowing):
    north, south, _ = flowing.banks
    north.train(flowing.run)
    assert flowing.advance().versions.count() == 1
    south.train(flowing.run)
    assert flowing.advance().versions.count() == 2


def test_async_spends_as_many_updates_as_sync(flowing):
    assert flowing.run.total_versions == 6  # 4 rounds of 3 banks in buffers of 2


def test_a_bank_that_is_done_takes_more_work_at_once(flowing):
    north = flowing.banks[0]
    first = north.work()
    north.train(flowing.run, seed=1)
    second = north.work()
    assert (second["round"], second["attempt"]) == (first["round"], first["attempt"] + 1)
    north.train(flowing.run, seed=2)
    assert flowing.advance().versions.count() == 2
    third = north.work()
    assert (third["round"], third["attempt"], third["base_number"]) == (2, 1, 1)


def test_the_same_order_is_given_until_it_is_done(flowing):
    north = flowing.banks[0]
    assert north.work() == north.work()


def test_a_slow_banks_update_counts_in_a_later_version_with_less_weight(flowing):
    north, south, east = flowing.banks
    run = flowing.run
    run.refresh_from_db()
    order = east.work()
    for seed in (1, 2):
        north.train(run, seed=seed)
        south.train(run, seed=seed + 10)
        flowing.advance()
    assert run.versions.count() == 3
    assert east.send(*east.update(run, order, east.difference(run, 5))).json()["receipt"]["document"]["outcome"] == "accepted"
    north.train(run, seed=3)
    flowing.advance()
    entries = run.rounds.get(number=3).aggregation["entries"]
    stale = next(entry for entry in entries if entry["institution"] == "east")
    fresh = next(entry for entry in entries if entry["institution"] == "north")
    assert stale["staleness"] == 2
    assert stale["weight"] == pytest.approx(300 / 400 * 3**-0.5)
    assert fresh["staleness"] == 1  # north took its next slot just before a version came
    assert fresh["weight"] == pytest.approx(100 / 400 * 2**-0.5)
    expected = weights_of(run, 2, north.plan) + stale["weight"] * east.difference(run, 5).astype(np.float64)
    expected += fresh["weight"] * north.difference(run, 3).astype(np.float64)
    assert np.allclose(weights_of(run, 3, north.plan), expected, atol=1e-6)


def test_an_update_that_is_too_stale_gets_a_receipt_that_says_so(north, south, east, admin):
    federation = _begin([north, south, east], admin, max_staleness=0)
    run = federation.run
    run.refresh_from_db()
    order = federation.banks[2].work()
    for bank in federation.banks[:2]:
        bank.train(run)
    federation.advance()
    slow = federation.banks[2]
    answer = slow.send(*slow.update(run, order, slow.difference(run, 5)))
    assert answer.json()["receipt"]["document"]["outcome"] == "late"
    assert slow.work()["base_number"] == 1


def test_an_update_that_comes_while_a_buffer_closes_waits_for_the_next(flowing):
    north, south, east = flowing.banks
    order = east.work()
    north.train(flowing.run)
    south.train(flowing.run)
    services.close_round(round_=flowing.run.rounds.get())
    flowing.run.refresh_from_db()
    answer = east.send(*east.update(flowing.run, order, east.difference(flowing.run, 5)))
    assert answer.json()["receipt"]["document"]["outcome"] == "accepted"
    assert Update.objects.get(participation__institution__slug="east").into is None
    flowing.advance()
    waited = Update.objects.get(participation__institution__slug="east")
    assert (waited.into.number, waited.staleness) == (2, 1)


def test_one_update_makes_a_version_where_the_buffer_is_one(north, south, east, admin):
    federation = _begin([north, south, east], admin, buffer=1)
    for i in range(3):
        federation.banks[0].train(federation.run, seed=i)
        assert federation.advance().versions.count() == i + 2


def test_a_bank_sends_no_more_than_the_plan_allows(north, south, east, admin):
    federation = _begin([north, south, east], admin, max_updates_per_bank=1)
    for bank in federation.banks[:2]:
        bank.train(federation.run)
    assert federation.advance().versions.count() == 2
    federation.banks[2].train(federation.run)
    run = federation.advance()
    assert run.versions.count() == 3  # and the rest, since nobody may send more
    assert run.closing_at is not None or federation.advance().closing_at is not None
    assert federation.banks[0].work()["kind"] == "evaluate"


def _spent_with_an_empty_buffer(north, south, east, admin, *, every: int = 1) -> Federation:
    """Every bank has sent all that it may, and the buffer that opened behind the last version can never be filled."""
    schedule = {"mode": "async", "rounds": 4, "buffer": 3, "max_updates_per_bank": 1, "select": "best" if every else "last"}
    federation = make_federation([north, south, east], admin, schedule=schedule, evaluation={"every": every})
    federation.begin()
    for bank in federation.banks:
        bank.train(federation.run)
    federation.advance()
    assert [round_.state for round_ in federation.run.rounds.all()] == ["published", "abandoned"]
    return federation


def test_a_run_that_ends_early_is_evaluated_and_finishes(north, south, east, admin):
    federation = _spent_with_an_empty_buffer(north, south, east, admin)
    assert federation.run.state == "running"
    for bank in federation.banks:
        assert bank.evaluate(bank.work()).status_code == 200
    assert federation.advance().state == "finished"


def test_a_run_that_ends_early_waits_for_its_evaluation_no_longer_than_the_deadline(north, south, east, admin):
    federation = _spent_with_an_empty_buffer(north, south, east, admin)
    Run.objects.filter(pk=federation.run.pk).update(deadline_at=now() - timedelta(seconds=1))
    assert federation.advance().state == "finished"


def test_a_run_that_ends_early_and_evaluates_nothing_finishes_at_once(north, south, east, admin):
    assert _spent_with_an_empty_buffer(north, south, east, admin, every=0).run.state == "finished"


def test_an_update_that_comes_while_the_last_version_is_made_gets_a_receipt_that_says_late(north, south, east, admin):
    """No round opens after it, so it would count nowhere."""
    federation = make_federation([north, south, east], admin, schedule={"mode": "async", "rounds": 1, "buffer": 2})
    federation.begin()
    run, (first, second, slow) = federation.run, federation.banks
    assert run.total_versions == 2
    order = slow.work()
    for bank in (first, second):
        bank.train(run, seed=1)
    federation.advance()
    for bank in (first, second):
        bank.train(run, seed=2)
    services.close_round(round_=run.rounds.get(number=2))
    answer = slow.send(*slow.update(run, order, slow.difference(run, 5)))
    assert answer.json()["receipt"]["document"]["outcome"] == "late"


def test_a_bank_that_is_dropped_is_out_with_whatever_it_has_under_way(flowing, admin):
    """It took its work before the present version was made; what it sends after it was dropped counts no more."""
    north, south, east = flowing.banks
    order = east.work()
    for bank in (north, south):
        bank.train(flowing.run)
    flowing.advance()
    services.drop_bank(run=flowing.run, institution=east.bank.institution, user=admin, reason="line is down")
    answer = east.send(*east.update(flowing.run, order, east.difference(flowing.run, 5)))
    assert answer.json()["receipt"]["document"]["outcome"] == "late"


def test_a_bank_that_is_dropped_keeps_what_earlier_slots_brought(flowing, admin):
    north = flowing.banks[0]
    north.train(flowing.run, seed=1)
    north.work()
    services.drop_bank(run=flowing.run, institution=north.bank.institution, user=admin, reason="wrong table")
    assert list(Update.objects.values_list("participation__phase", flat=True)) == ["received"]
    assert north.work() is None


def test_what_is_there_at_the_deadline_makes_a_version(flowing):
    flowing.banks[0].train(flowing.run)
    Round.objects.filter(run=flowing.run, state="open").update(deadline_at=now() - timedelta(seconds=1))
    assert flowing.advance().versions.count() == 2


def test_an_async_run_goes_to_its_end(flowing):
    run: Run = flowing.run
    for turn in range(40):
        if flowing.advance().closing_at is not None:
            break
        flowing.banks[turn % 3].train(run, seed=turn)
    for bank in flowing.banks:
        assert bank.evaluate(bank.work()).status_code == 200
    run = flowing.advance()
    assert run.state == "finished"
    assert run.versions.count() == run.total_versions + 1
    assert run.last_version.pooled["banks"] == 3
    verify(run.chain)


def test_a_version_of_two_of_three_banks_takes_two_thirds_of_fedadams_step(north, south, east, admin):
    schedule = {"mode": "async", "rounds": 4, "buffer": 2}
    federation = make_federation([north, south, east], admin, schedule=schedule, strategy={"name": "fedadam"})
    federation.begin()
    run, (first, second, _) = federation.run, federation.banks
    for bank in (first, second):
        bank.train(federation.run)
    federation.advance()
    moved = np.abs(weights_of(run, 1, first.plan) - weights_of(run, 0, first.plan))
    longest = 0.1 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2)  # corrected for bias, of a mean far above the degree of adaptivity
    longest *= 0.1 / np.sqrt(0.01) * 2 / 3
    assert moved.max() == pytest.approx(longest, rel=0.2)
    assert moved.max() <= longest


def test_a_late_update_is_folded_into_the_next_round_where_the_plan_says_so(north, south, east, admin):
    schedule = {"rounds": 3, "quorum": 0.6, "late": "next_round"}
    federation = make_federation([north, south, east], admin, schedule=schedule)
    run = federation.begin()
    slow = federation.banks[2]
    order = slow.work()
    federation.round(banks=federation.banks[:2])
    answer = slow.send(*slow.update(run, order, slow.difference(run, 5)))
    assert answer.json()["receipt"]["document"]["outcome"] == "accepted"
    federation.round(banks=federation.banks[:2])
    entries = {entry["institution"]: entry for entry in run.rounds.get(number=2).aggregation["entries"]}
    assert entries["east"]["staleness"] == 1


def test_a_fresh_update_takes_the_place_of_the_late_one(north, south, east, admin):
    schedule = {"rounds": 3, "quorum": 0.6, "late": "next_round", "min_wait_s": 3600}
    federation = make_federation([north, south, east], admin, schedule=schedule)
    run = federation.begin()
    slow = federation.banks[2]
    order = slow.work()
    federation.round(banks=federation.banks[:2])
    Round.objects.filter(run=run).update(opened_at=now() - timedelta(hours=2))
    federation.advance()
    slow.send(*slow.update(run, order, slow.difference(run, 5)))
    federation.round()
    entries = run.rounds.get(number=2).aggregation["entries"]
    assert [entry["staleness"] for entry in entries] == [0, 0, 0]


def test_the_history_of_an_async_run_verifies_and_an_altered_weight_does_not(flowing):
    for turn in range(40):
        if flowing.advance().closing_at is not None:
            break
        flowing.banks[turn % 3].train(flowing.run, seed=turn)
    for bank in flowing.banks:
        bank.evaluate(bank.work())
    flowing.advance()
    file = history(flowing.run)
    proof = verify_history(json.dumps(file).encode())
    assert proof.versions == flowing.run.total_versions + 1
    closed = next(item for item in file["entries"] if item["entry"]["kind"] == "round_closed")
    closed["entry"]["body"]["aggregation"]["entries"][0]["weight"] = 0.9
    with pytest.raises(LedgerBroken, match=f"entry {closed['entry']['seq']}"):
        verify_history(json.dumps(file).encode())
