"""From proposal to acknowledged result, through the agents' real door."""

from __future__ import annotations

import numpy as np
import pytest

from audit.selectors import verify
from clientagent.wire.messages import EvaluationCounts, SplitCounts
from rounds.models import ModelVersion, Receipt, Seat
from rounds.selectors.metrics import pooled_figures
from tests.rounds.scripted import SPLIT, weights_of

pytestmark = pytest.mark.django_db


def test_a_run_goes_from_proposal_to_acknowledged_result(federation):
    run = federation.begin()
    assert run.state == "running"
    run = federation.finish()
    assert run.state == "finished"
    assert run.versions.count() == 3
    assert run.selected.number in (1, 2)
    for bank in federation.banks:
        order = bank.work()
        assert order["kind"] == "collect"
        assert bank.collect(order).status_code == 200
        assert bank.work() is None
    assert not run.seats.filter(acknowledged_at=None).exists()
    verify(run.chain)
    verify(run.plan.project.chain)


def test_the_next_version_is_the_base_plus_the_weighted_mean_of_differences(running):
    run = running.round(seed=3)
    bank = running.banks[0]
    rows = np.array([100, 200, 300], np.float64)
    by_slug = {b.slug: (b.rows, b.difference(run, 3 + i).astype(np.float64)) for i, b in enumerate(running.banks)}
    expected = sum(n / rows.sum() * d for n, d in (by_slug[slug] for slug in sorted(by_slug)))
    got = weights_of(run, 1, bank.plan)
    assert np.allclose(got, expected, atol=1e-7)


def test_the_order_of_arrival_does_not_change_a_bit(running):
    run = running.run
    for bank, seed in zip(reversed(running.banks), (9, 8, 7), strict=True):
        bank.train(run, seed=seed)
    run = running.advance()
    first = run.versions.get(number=1).digest
    again = [(b.slug, s) for b, s in zip(reversed(running.banks), (9, 8, 7), strict=True)]
    deltas = {slug: next(b for b in running.banks if b.slug == slug).difference(run, seed) for slug, seed in again}
    shares = {entry["institution"]: entry["weight"] for entry in run.rounds.get(number=1).aggregation["entries"]}
    total = np.zeros_like(next(iter(deltas.values())), dtype=np.float64)
    for slug in sorted(deltas):
        total += shares[slug] * deltas[slug].astype(np.float64)
    assert np.array_equal(weights_of(run, 1, running.banks[0].plan), total.astype(np.float32))
    assert run.rounds.get(number=1).version.digest == first


def test_everybody_is_asked_for_the_evaluation_of_the_last_version(running):
    run = running.round()
    run = running.round(seed=5)
    assert run.closing_at is not None
    order = running.banks[0].work()
    assert (order["kind"], order["base_number"]) == ("evaluate", 2)
    assert ModelVersion.objects.get(run=run, number=1).pooled["banks"] == 3


def test_the_same_statement_gets_the_same_receipt(running):
    bank, run = running.banks[0], running.run
    run.refresh_from_db()
    statement, data = bank.update(run, bank.work(), bank.difference(run, 1))
    first, second = bank.send(statement, data), bank.send(statement, data)
    assert first.json()["receipt"] == second.json()["receipt"]
    assert Receipt.objects.filter(subject="update").count() == 1


def test_statistics_and_roster_are_frozen_into_the_manifest(running):
    run = running.run
    roster = run.manifest["document"]["roster"]
    assert [entry["institution"] for entry in roster] == ["east", "north", "south"]
    assert sum(entry["weight"] for entry in roster) == pytest.approx(1)
    assert set(run.seats.values_list("state", flat=True)) == {Seat.State.SEATED}


def test_a_bank_that_shows_no_counts_does_not_dilute_the_pooled_loss():
    silent = SplitCounts(rows=4, loss_sum=0.0, bins=[])
    counts = [EvaluationCounts(number=1, version_digest="0" * 64, validation=part, holdout=part) for part in (SPLIT, silent)]
    pooled = pooled_figures(counts, 1000)
    assert pooled["validation"]["loss"] == pytest.approx(SPLIT.loss_sum / SPLIT.rows)
    assert pooled["validation"]["rows"] == SPLIT.rows
