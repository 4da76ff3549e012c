"""Privacy of banks under secure aggregation: the portal opens noised sums only, books each as it may be opened, and adds nothing."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from clientagent.history.verify import verify_history
from clientagent.wire.errors import LedgerBroken
from clientagent.wire.masking import dequantise
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.tensors import unpack
from rounds.exports.downloads import history
from rounds.forms.effects import effects_of
from rounds.models import Cohort, PrivacyAccount, PrivacyRelease, Round
from rounds.models import Receipt as ReceiptRow
from rounds.selectors import receipts
from rounds.selectors.privacy import epsilon_after
from rounds.services.updates import layout_for
from rounds.storage import blobs
from tests.cast import browser
from tests.rounds.masked import finish_masked, masked, ready, talk
from tests.rounds.scripted import Federation, make_federation, weights_of
from tests.rounds.test_masked_history import tell

pytestmark = pytest.mark.usefixtures("nobody_lingers")

SHARED: dict[str, Any] = {
    "privacy": {"institution_dp": {"epsilon": 8.0, "clip": 0.5}, "secure_aggregation": {"threshold": 0.6, "min_cohort": 3}},
    "strategy": {"weighting": "equal"},
}


@pytest.fixture
def shared(north, south, east, admin) -> Federation:
    federation = masked(make_federation([north, south, east], admin, **SHARED, schedule={"rounds": 2}))
    federation.begin()
    return federation


def test_the_version_is_the_base_plus_the_mean_of_what_the_banks_noised(shared):
    ready(shared)
    talk(shared)
    run, plan = shared.run, shared.banks[0].plan
    segment = shared.banks[0].cohort.ring.places[0].segment
    total = np.sum([bank.integers() for bank in shared.banks], axis=0)
    mean = (dequantise(total, segment) / 3).astype(np.float32)
    opened = unpack(b"".join(blobs.read(Cohort.objects.exclude(round=None).get().mean_id)), layout_for(run))
    assert np.array_equal(opened, mean)
    assert np.array_equal(weights_of(run, 1, plan), weights_of(run, 0, plan) + mean)
    terms = Cohort.objects.exclude(round=None).get().terms
    assert (terms["clip"], terms["noise_multiplier"]) == (0.5, institution_terms(plan).noise_multiplier)


def test_the_portal_has_no_noise_of_its_own_that_it_could_take_away(shared):
    ready(shared)
    talk(shared)
    round_ = Round.objects.get(number=1)
    assert (round_.noise_key, round_.noise_id, round_.aggregation["noise"]) == ("", None, None)


def test_a_vector_is_booked_when_it_is_in_the_cohort_whatever_becomes_of_it(shared, admin):
    ready(shared)
    talk(shared, until="masked")
    assert not PrivacyRelease.objects.exists()
    talk(shared, until="consistency")
    assert PrivacyRelease.objects.count() == 3
    first = epsilon_after(shared.run, 1)
    Cohort.objects.exclude(round=None).update(deadline_at=timezone.now() - timedelta(seconds=1))
    shared.advance()
    assert Round.objects.get(attempt=1).state == "abandoned"
    ready(shared)
    talk(shared)
    assert shared.run.versions.count() == 2
    again = epsilon_after(shared.run, 1)
    assert 0 < first < again <= 8.0
    account = PrivacyAccount.objects.get(institution__slug="north")
    assert (account.unit, account.releases.count(), account.epsilon) == ("institution", 2, pytest.approx(again))
    assert "the bank as a whole" in browser(admin).get(f"/runs/{shared.run.pk}/").content.decode()


def test_a_receipt_says_what_a_masked_vector_cost_its_bank(shared):
    ready(shared)
    talk(shared)
    rows = ReceiptRow.objects.filter(subject="update").select_related("run__plan__project", "institution")
    (cost,) = receipts.sent(rows.filter(institution__slug="north"))[0].costs
    assert (cost.unit, cost.of_run) == ("institution", epsilon_after(shared.run, 1))


def test_the_history_verifies_and_weaker_noise_in_it_is_found_out(shared):
    finish_masked(shared)
    assert shared.run.state == "finished"
    file = history(shared.run)
    verify_history(json.dumps(file).encode())
    told = [item["entry"]["body"] for item in file["entries"] if item["entry"]["kind"] == "cohort_formed"]
    formed = next(body for body in told if body["round"])
    tell(copy.deepcopy(file))
    formed["terms"]["noise_multiplier"] /= 2
    with pytest.raises(LedgerBroken, match="terms"):
        tell(file)
    spent = [item["entry"]["body"]["epsilon"] for item in file["entries"]
             if item["entry"]["kind"] == "version_published" and item["entry"]["body"]["number"]]
    assert [sorted(one) for one in spent] == [["east", "north", "south"]] * 2
    assert 0 < spent[0]["north"] < spent[1]["north"] <= 8.0


def test_the_form_says_whom_the_noise_protects_from(shared):
    texts = " ".join(effect.text for effect in effects_of(shared.banks[0].plan))
    assert "and to the portal: each bank adds its share" in texts
    assert "The shares of 2 banks make the promised noise" in texts
