"""Evaluation under masks: the portal learns how all banks together score, from sums, and holds no counts of one bank."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from clientagent.history.verify import verify_history
from clientagent.wire.cohort_orders import UpdateReady
from clientagent.wire.messages import EvaluationCounts, EvaluationReport, SplitCounts
from clientagent.wire.metrics import from_sparse
from rounds import services
from rounds.engine.aggregation import aggregate_round
from rounds.exports.downloads import history
from rounds.forms.effects import effects_of
from rounds.models import Cohort, Evaluation, Round
from rounds.rehearsal.report import published, round_figures
from rounds.services.updates import layout_for
from tests.cast import browser, make_bank
from tests.rounds.masked import finish_masked, masked, ready, talk
from tests.rounds.scripted import Federation, make_federation

pytestmark = pytest.mark.usefixtures("nobody_lingers")

SECURE: dict[str, Any] = {"secure_aggregation": {"threshold": 0.6, "min_cohort": 3}}
COUNTS = {
    "north": [(100, 9, 1), (700, 2, 8)], "south": [(300, 15, 0), (702, 1, 4)], "east": [(101, 20, 0)], "west": [(650, 10, 10)],
}  # fmt: skip
THREE = ["north", "south", "east"]


def federation_of(banks: list[Any], admin: Any, *, rounds: int) -> Federation:
    """Each bank counts its own customers; 20 in each split, as declared."""
    federation = masked(make_federation(banks, admin, privacy=SECURE, schedule={"rounds": rounds}))
    federation.begin()
    return federation


@pytest.fixture
def once(north, south, east, admin) -> Federation:
    """One round of three banks, and the closing evaluation."""
    return federation_of([north, south, east], admin, rounds=1)


@pytest.fixture
def twice(north, south, east, admin) -> Federation:
    return federation_of([north, south, east], admin, rounds=2)


class Telling(UpdateReady):
    """An agent that is more open than its plan."""

    counts: EvaluationCounts


def all_ready(federation: Federation, **how: Any) -> None:
    ready(federation, **how)
    for bank in federation.banks:
        if bank.counts is not None:
            split = SplitCounts(rows=20, loss_sum=10.0 + len(bank.slug), bins=COUNTS[bank.slug])
            bank.counts = bank.counts.model_copy(update={"validation": split, "holdout": split})


def sums_of(version: Any) -> EvaluationCounts:
    return EvaluationCounts.model_validate(version.pooled["sums"])


def expected(banks: list[str]) -> Any:
    splits = [SplitCounts(rows=20, loss_sum=0, bins=COUNTS[bank]) for bank in banks]
    return np.sum([from_sparse(split, 1000) for split in splits], axis=0)


def test_the_pool_is_known_and_no_bank_on_its_own(twice):
    while twice.run.state == "running":
        all_ready(twice)
        talk(twice)
    assert twice.run.state == "finished"
    assert not Evaluation.objects.exists()
    for version in twice.run.versions.filter(number__gt=0):
        sums = sums_of(version)
        assert version.pooled["banks"] == 3
        counts = from_sparse(sums.holdout, 1000)
        assert counts.sum(axis=0).tolist() == expected(THREE).sum(axis=0).tolist()
        assert counts.sum(axis=1)[counts.sum(axis=1) > 0].min() >= 5  # small bins of the sum are merged
        assert sums.holdout.loss_sum == pytest.approx(sum(10.0 + len(bank) for bank in THREE), abs=1e-6)
        assert version.validation_loss == pytest.approx(sums.validation.loss_sum / 60)
    for message in twice.run.rounds.values_list("cohorts__messages__signed", flat=True):
        assert "bins" not in json.dumps(message)


def test_the_sum_is_of_the_survivors(north, south, east, admin):
    four = federation_of([north, south, east, make_bank("west", by=admin)], admin, rounds=2)
    all_ready(four)
    talk(four)
    all_ready(four)
    talk(four, until="masked")
    talk(four, silent={"west"})
    Cohort.objects.exclude(round=None).update(deadline_at=timezone.now() - timedelta(seconds=1))
    talk(four, silent={"west"})
    version = four.run.versions.get(number=1)
    assert version.pooled["banks"] == 3
    assert from_sparse(sums_of(version).holdout, 1000).sum() == 60
    assert from_sparse(sums_of(version).holdout, 1000).sum(axis=0).tolist() == expected(THREE).sum(axis=0).tolist()


def test_version_0_is_not_counted_and_the_last_one_is_counted_in_a_round_of_its_own(twice):
    finish_masked(twice)
    rounds = list(twice.run.rounds.values_list("number", "state", "only_counts"))
    assert rounds == [(1, "published", False), (2, "published", False), (3, "published", True)]
    purposes = [cohort.terms["purpose"] for cohort in Cohort.objects.exclude(round=None).order_by("round__number")]
    assert purposes == ["update", "update", "evaluation"]
    assert twice.run.versions.get(number=0).pooled is None
    assert twice.run.versions.count() == 3
    proof = verify_history(json.dumps(history(twice.run)).encode())
    assert (proof.rounds, proof.updates, proof.versions) == (2, 6, 3)
    assert [round_figures(round_)["auc"] is not None for round_ in published(twice.run)] == [True, True]


@pytest.mark.parametrize("stage", [pytest.param("keys", marks=pytest.mark.slow), "consistency"])
def test_a_closing_evaluation_that_fails_does_not_hold_the_result_up(once, stage):
    all_ready(once)
    talk(once)
    assert once.run.closing_at is not None
    all_ready(once)
    talk(once, until=stage)
    talk(once, silent={"south", "east"})
    Cohort.objects.exclude(round=None).filter(round__only_counts=True).update(deadline_at=timezone.now() - timedelta(seconds=1))
    once.advance()
    assert once.run.state == "finished"
    assert Round.objects.get(only_counts=True).state == "abandoned"
    assert once.run.versions.get(number=1).pooled is None
    assert once.run.selected.number == 1


def test_a_pause_in_the_closing_evaluation_is_no_end(once, admin):
    all_ready(once)
    talk(once)
    all_ready(once)
    talk(once, until="shares")
    services.pause_run(run=once.run, user=admin, reason="maintenance")
    Cohort.objects.exclude(round=None).update(deadline_at=timezone.now() - timedelta(seconds=1))
    once.advance()
    services.resume_run(run=once.run, user=admin, reason="done")
    talk(once)
    assert (once.run.state, once.run.versions.get(number=1).pooled["banks"]) == ("finished", 3)


def test_counts_that_are_not_masked_are_refused(once):
    all_ready(once)
    talk(once)
    bank = once.banks[0]
    counts = EvaluationCounts(
        number=1, version_digest=bank.work()["base_digest"], validation=SplitCounts(rows=20, loss_sum=0, bins=[]),
        holdout=SplitCounts(rows=20, loss_sum=0, bins=[]),
    )
    all_ready(once)
    telling = Telling(**bank.ready.model_dump(), counts=counts)
    assert bank.post("ready", telling).json()["code"] == "malformed"
    report = EvaluationReport(run=str(once.run.pk), manifest_digest=once.run.manifest_digest, institution=bank.slug, counts=counts)
    refused = bank.post("evaluations", report)
    assert refused.json()["code"] == "illegal_move"
    assert "masked" in refused.json()["expected"]
    talk(once)
    assert not Evaluation.objects.exists()


def test_counts_that_contradict_themselves_spoil_the_figures_and_not_the_round(twice):
    all_ready(twice)
    talk(twice)
    all_ready(twice)
    rogue = twice.banks[0]
    honestly = rogue.vector

    def one_customer_less() -> Any:
        vector = honestly()
        rows = next(place for place in rogue.cohort.ring.places if place.segment.name == "holdout.rows")
        vector[rows.start] -= 1
        return vector

    rogue.vector = one_customer_less
    talk(twice)
    assert twice.run.versions.count() == 3
    assert twice.run.versions.get(number=1).pooled is None


def test_page_api_and_download_say_that_single_banks_are_hidden(once, admin):
    finish_masked(once)
    client, version = browser(admin), once.run.selected
    page = client.get(f"/runs/{once.run.pk}/versions/{version.number}/").content.decode()
    assert "the figures of single banks are hidden" in page
    said = client.get(f"/runs/{once.run.pk}/versions/{version.number}/evaluation.json").json()
    assert said["masked"] is True
    assert [holder["institution"] for holder in said["holders"]] == [None]
    assert client.get(f"/runs/{once.run.pk}/").status_code == 200
    texts = " ".join(effect.text for effect in effects_of(once.banks[0].plan) if effect.about == "protects")
    assert "Evaluation counts are masked too" in texts
    assert "Preprocessing statistics are masked too" in texts


@pytest.mark.slow
def test_a_repeated_attempt_with_fresh_noise_has_no_counts(north, south, east, admin):
    privacy = {**SECURE, "institution_dp": {"epsilon": 8.0, "clip": 0.5}}
    federation = masked(make_federation([north, south, east], admin, privacy=privacy, strategy={"weighting": "equal"}))
    federation.begin()
    ready(federation)
    talk(federation)
    ready(federation)
    talk(federation, until="consistency")
    Cohort.objects.exclude(round=None).update(deadline_at=timezone.now() - timedelta(seconds=1))
    federation.advance()
    ready(federation)
    talk(federation)
    names = [[segment["name"] for segment in cohort.terms["segments"]] for cohort in Cohort.objects.exclude(round=None).order_by("pk")]
    assert [len(one) for one in names] == [1, 7, 1]
    assert federation.run.versions.get(number=1).pooled is None


def test_a_round_that_counted_is_computed_again_to_the_same_bits(twice):
    while twice.run.state == "running":
        all_ready(twice)
        talk(twice)
    rounds = [round_ for round_ in published(twice.run) if round_.version.number]
    assert len(rounds) == 2
    for round_ in rounds:
        again = aggregate_round(round_, layout_for(twice.run), on_block=lambda share: None)
        assert again.digest == round_.version.digest
