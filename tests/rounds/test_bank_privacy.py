"""Privacy of a bank: updates are clipped, the sum gets noise that the manifest commits, and what it cost is booked."""

from __future__ import annotations

import json

import numpy as np
import pytest

from clientagent.history.verify import verify_history
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.errors import DigestMismatch, PlanInvalid
from clientagent.wire.messages import AggregationManifest
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.tensors import unpack
from clientagent.wire.weights import layout_of
from rounds.engine import aggregation
from rounds.exports import downloads
from rounds.models import PrivacyAccount, Round
from rounds.selectors.privacy import epsilon_after
from rounds.storage import blobs
from tests.cast import browser
from tests.rounds.scripted import Federation, make_federation, weights_of

NOISED = {"privacy": {"institution_dp": {"epsilon": 8.0, "clip": 0.5}}, "strategy": {"weighting": "equal"}}


@pytest.fixture
def noised(north, south, east, admin) -> Federation:
    federation = make_federation([north, south, east], admin, **NOISED)
    federation.begin()
    return federation


def clipped(federation, bank, seed: int):
    flat = bank.difference(federation.run, seed)
    return (0.49 * flat / np.linalg.norm(flat)).astype(np.float32)


def whole_round(federation) -> list[np.ndarray]:
    federation.run.refresh_from_db()
    updates = []
    for seed, bank in enumerate(federation.banks):
        order = bank.work()
        updates.append(clipped(federation, bank, seed))
        answer = bank.send(*bank.update(federation.run, order, updates[-1]))
        assert answer.status_code == 200, answer.content
    federation.advance()
    return updates


def noise_of(federation, number: int) -> np.ndarray:
    round_ = Round.objects.get(run=federation.run, number=number, state="published")
    layout = layout_of(federation.run.plan.document, federation.run.inputs)
    return unpack(b"".join(blobs.read(round_.noise_id)), layout)


def test_the_next_version_is_the_base_plus_the_mean_plus_noise_that_is_kept(noised):
    updates = whole_round(noised)
    plan, noise = noised.run.plan.document, noise_of(noised, 1)
    terms = institution_terms(plan)
    assert 0.1 * terms.noise_multiplier < np.std(noise) / terms.clip < 3 * terms.noise_multiplier
    wide = np.sum([*updates, noise], axis=0, dtype=np.float64) / 3
    expected = weights_of(noised.run, 0, plan) + wide
    assert np.allclose(weights_of(noised.run, 1, plan), expected, atol=1e-6)


def test_the_manifest_commits_the_noise_and_gives_the_same_bits_again(noised):
    whole_round(noised)
    round_ = Round.objects.get(run=noised.run, number=1)
    said = AggregationManifest.model_validate(round_.aggregation).noise
    assert said.key_digest == sha256_hex(bytes.fromhex(round_.noise_key))
    layout = layout_of(noised.run.plan.document, noised.run.inputs)
    again = aggregation.aggregate_round(round_, layout, on_block=lambda share: None)
    assert again.digest == noised.run.versions.get(number=1).digest
    assert again.noise_digest == round_.noise_id
    Round.objects.filter(pk=round_.pk).update(noise_key="00" * 32)
    with pytest.raises(DigestMismatch):
        aggregation.store_noise(round_, layout)


def test_every_round_draws_noise_of_its_own_and_epsilon_stays_within_the_plan(noised, admin):
    whole_round(noised)
    whole_round(noised)
    assert not np.allclose(noise_of(noised, 1), noise_of(noised, 2))
    first, second = epsilon_after(noised.run, 1), epsilon_after(noised.run, 2)
    assert 0 < first < second <= 8.0
    account = PrivacyAccount.objects.get(institution__slug="north")
    assert (account.unit, account.subject, account.releases.count()) == ("institution", "retail", 2)
    assert account.epsilon == pytest.approx(second)
    assert "the bank as a whole" in browser(admin).get(f"/runs/{noised.run.pk}/").content.decode()


def test_an_update_beyond_the_clip_is_refused(noised):
    bank, run = noised.banks[0], noised.run
    run.refresh_from_db()
    answer = bank.send(*bank.update(run, bank.work(), 3 * clipped(noised, bank, 0)))
    assert answer.json()["code"] == "privacy_unsound"


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"strategy": {"weighting": "samples"}}, PlanInvalid),
        ({"schedule": {"mode": "async", "rounds": 2}}, PlanInvalid),
        ({"compression": {"codec": "int8"}}, PlanInvalid),
        ({"privacy": {"institution_dp": {}, "secure_aggregation": {}}, "compression": {"codec": "int8"}}, PlanInvalid),
    ],
)
def test_what_the_promise_cannot_be_computed_for_is_refused(north, south, east, admin, changes, refusal):
    with pytest.raises(refusal):
        make_federation([north, south, east], admin, **{**NOISED, **changes})


def test_the_history_of_a_noised_run_verifies_without_the_portal(noised):
    while noised.run.state == "running" and noised.run.closing_at is None:
        whole_round(noised)
    for bank in noised.banks:
        assert bank.evaluate(bank.work()).status_code == 200
    noised.advance()
    assert noised.run.state == "finished"
    verify_history(json.dumps(downloads.history(noised.run)).encode())
