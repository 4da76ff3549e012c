"""The clip that follows the banks' own norms: server state that comes with each version, counted with noise, replayed from evidence."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from clientagent.history.verify import verify_history
from clientagent.wire.canonical import digest_of
from clientagent.wire.errors import LedgerBroken, PrivacyUnsound
from clientagent.wire.messages import AggregationManifest
from clientagent.wire.plan import parse_plan
from clientagent.wire.privacy.institution import (
    COUNT,
    FIRST_ADAPTIVE_CLIP,
    AdaptiveClip,
    count_sigma,
    institution_terms,
    noisy_share_within,
)
from clientagent.wire.privacy.stream import Stream
from rounds.engine import aggregation
from rounds.exports import downloads
from rounds.models import ModelVersion, PrivacyRelease, Round
from rounds.services.updates import layout_for
from tests.cast import browser, make_bank
from tests.rounds.scripted import Federation, make_federation, plan_document

pytestmark = pytest.mark.usefixtures("nobody_lingers")

BANKS = 50
ADAPTIVE = {
    "privacy": {"institution_dp": {"epsilon": 8.0, "clip": "adaptive"}}, "strategy": {"weighting": "equal"},
    "schedule": {"rounds": 2, "select": "last"}, "evaluation": {"every": 0},
}  # fmt: skip


@pytest.fixture
def many(admin) -> Federation:
    federation = make_federation([make_bank(f"bank-{i}", by=admin) for i in range(BANKS)], admin, **ADAPTIVE)
    federation.begin()
    return federation


def send(federation, bank, norm: float, **changes):
    """An update of this norm before it is cut to the order's clip."""
    run, order = federation.run, bank.work()
    flat = bank.difference(run, 0).astype(np.float64)
    flat *= min(norm, order["clip"] * (1 - 1e-6)) / np.linalg.norm(flat)
    return bank.send(*bank.update(run, order, flat.astype(np.float32), **{"within_clip": norm <= order["clip"], **changes}))


def whole_round(federation, norms) -> None:
    federation.run.refresh_from_db()
    for bank, norm in zip(federation.banks, norms, strict=True):
        answer = send(federation, bank, norm)
        assert answer.status_code == 200, answer.content
    federation.advance()


def clips(federation) -> list[float]:
    return list(federation.run.versions.order_by("number").values_list("clip", flat=True))


def noise_of(federation, number: int):
    return AggregationManifest.model_validate(Round.objects.get(run=federation.run, number=number).aggregation).noise


def test_the_clip_comes_with_each_version_and_the_history_replays_it(many, admin):
    terms = institution_terms(many.run.plan.document)
    assert many.banks[0].work()["clip"] == FIRST_ADAPTIVE_CLIP
    whole_round(many, [10.0] * BANKS)
    said = noise_of(many, 1)
    assert (said.clip, said.count_deviation) == (FIRST_ADAPTIVE_CLIP, count_sigma(BANKS))
    assert said.noise_multiplier == terms.update_noise > terms.noise_multiplier
    secret = bytes.fromhex(Round.objects.get(run=many.run, number=1).noise_key)
    assert said.within_share == noisy_share_within(0, BANKS, Stream(secret).child(COUNT), deviation=count_sigma(BANKS))
    assert clips(many)[1] == AdaptiveClip(FIRST_ADAPTIVE_CLIP).after(said.within_share).clip > FIRST_ADAPTIVE_CLIP
    event = PrivacyRelease.objects.filter(run=many.run)[0].event
    assert (event["noise_multiplier"], event["clip"]) == (terms.noise_multiplier, FIRST_ADAPTIVE_CLIP)

    assert many.banks[0].work()["clip"] == clips(many)[1]
    whole_round(many, [0.01] * BANKS)
    assert clips(many)[2] < clips(many)[1]
    assert noise_of(many, 2).clip == clips(many)[1]
    round_ = Round.objects.get(run=many.run, number=2)
    again = aggregation.aggregate_round(round_, layout_for(many.run), on_block=lambda share: None)
    assert again.digest == many.run.versions.get(number=2).digest
    for bank in many.banks:
        order = bank.work()
        if order is not None and order["kind"] == "evaluate":
            assert bank.evaluate(order).status_code == 200
    many.advance()
    assert many.run.state == "finished"
    history = downloads.history(many.run)
    verify_history(json.dumps(history).encode())
    assert "Clip" in browser(admin).get(f"/runs/{many.run.pk}/rounds/2/").content.decode()
    counts_stay_hidden(history)


def counts_stay_hidden(history) -> None:
    """What every bank may read of a round, its manifest, names no bank's word on the clip."""
    closed = [entry["entry"]["body"]["aggregation"] for entry in history["entries"] if entry["entry"]["kind"] == "round_closed"]
    assert all("within_clip" not in str(aggregation) for aggregation in closed)


def test_what_a_bank_says_of_the_clip_must_fit_its_update(many):
    bank = many.banks[0]
    many.run.refresh_from_db()
    refused = [
        send(many, bank, 0.01, within_clip=False),
        send(many, bank, 0.01, within_clip=None),
    ]
    assert [answer.json()["code"] for answer in refused] == ["privacy_unsound", "counts_invalid"]
    order = bank.work()
    flat = bank.difference(many.run, 0)
    longer = (2 * order["clip"] * flat / np.linalg.norm(flat)).astype(np.float32)
    assert bank.send(*bank.update(many.run, order, longer, within_clip=False)).json()["code"] == "privacy_unsound"
    assert send(many, bank, 10.0).status_code == 200


def test_a_plan_whose_banks_cannot_pay_for_the_count_is_refused():
    document = plan_document([f"bank-{i}" for i in range(BANKS)], **ADAPTIVE)
    document["privacy"] = {"institution_dp": {"epsilon": 0.5, "clip": "adaptive"}}
    document["schedule"] = {"rounds": 50, "select": "last"}
    with pytest.raises(PrivacyUnsound, match="banks"):
        institution_terms(parse_plan(document))


@pytest.mark.parametrize("change", [{"clip": 0.2}, {"within_share": 0.9}, {"within_share": None}])
def test_a_history_whose_clip_does_not_follow_is_found(change):
    """The story of one round, told with one number changed."""
    from clientagent.history.clipping import ClippingStory

    plan = parse_plan(plan_document([f"bank-{i}" for i in range(BANKS)], **ADAPTIVE))
    said = {"noise_multiplier": 3.0, "clip": FIRST_ADAPTIVE_CLIP, "key_digest": "0" * 64, "count_deviation": 2.5, "within_share": 0.1}
    document = {
        "run": "0" * 36, "round": 1, "attempt": 1, "base_number": 0, "base_digest": "0" * 64, "participants": BANKS,
        "strategy": {}, "entries": [], "noise": said,
    }  # fmt: skip

    def tell(noise) -> None:
        story = ClippingStory(plan)
        story.published(0, {"round": 0, "clip": FIRST_ADAPTIVE_CLIP})
        story.aggregated(AggregationManifest.model_validate({**copy.deepcopy(document), "noise": noise}))
        story.published(1, {"round": 1, "clip": AdaptiveClip(FIRST_ADAPTIVE_CLIP).after(0.1).clip})

    tell(said)
    with pytest.raises(LedgerBroken):
        tell({**said, **change})


def test_documents_without_an_adaptive_clip_are_what_they_were():
    """A field that came later is left out where it says nothing, so that old digests hold."""
    noise = {"mechanism": "gaussian", "noise_multiplier": 3.0, "clip": 0.5, "key_digest": "0" * 64}
    document = {
        "run": "0" * 36, "round": 1, "attempt": 1, "base_number": 0, "base_digest": "0" * 64, "base_state_digest": None,
        "participants": 3, "strategy": {}, "entries": [], "noise": noise, "cohort": None,
    }  # fmt: skip
    assert digest_of(AggregationManifest.model_validate(document)) == digest_of(document)
    assert ModelVersion._meta.get_field("clip").null
