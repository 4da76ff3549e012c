"""Statistics under masks through the agents' door: the same preprocessing, no bank's own statistics, and who falls out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from clientagent.wire.messages import CategoricalStatistics, NumericStatistics, PreprocessingSpec
from rounds import services
from rounds.forms.effects import masked_statistics_bytes
from rounds.models import Cohort, Receipt, Seat
from rounds.selectors.cohort_grid import statistics_view
from rounds.storage import blobs
from tests.cast import browser, make_bank
from tests.rounds.masked import masked
from tests.rounds.scripted import Federation, make_federation

pytestmark = pytest.mark.usefixtures("nobody_lingers")

SECURE: dict[str, Any] = {"secure_aggregation": {"threshold": 0.6, "min_cohort": 3}}


@pytest.fixture
def five(north, south, east, admin) -> Federation:
    banks = [north, south, east, make_bank("west", by=admin), make_bank("inland", by=admin)]
    return masked(make_federation(banks, admin, privacy=SECURE))


def declared(federation: Federation) -> Federation:
    """Everybody approved and declared its rows; the cohort is formed."""
    for bank in federation.banks:
        assert bank.decide().status_code == 200
    federation.advance()
    for bank in federation.banks:
        assert bank.count(federation.run).status_code == 200
    federation.advance()
    return federation


def talk(federation: Federation, *, silent: tuple[str, ...] = (), until: str | None = None) -> None:
    while federation.advance().state == "preparing":
        if until is not None and Cohort.objects.get(run=federation.run).stage == until:
            return
        answers = [bank.sum_statistics(federation.run) for bank in federation.banks if bank.slug not in silent]
        assert all(answer.status_code in (200, 204) for answer in answers if answer), [a.content for a in answers if a]
        if not any(answers):
            return


def expire(federation: Federation) -> None:
    Cohort.objects.filter(run=federation.run).update(deadline_at=timezone.now() - timedelta(seconds=1))


def entry(federation: Federation, kind: type) -> Any:
    spec = PreprocessingSpec.model_validate(federation.run.preprocessing)
    return spec.numeric[0] if kind is NumericStatistics else spec.categorical[0]


def test_the_preprocessing_is_that_of_the_banks_together_and_no_bank_was_seen(five):
    for i, bank in enumerate(five.banks):
        bank.rows = 100 + i
    talk(declared(five))
    assert five.run.state == "running"
    number = entry(five, NumericStatistics)
    rows = sum(bank.rows for bank in five.banks)
    assert (number.mean, number.scale) == (10.0, pytest.approx((5 * 400 / rows) ** 0.5, rel=1e-12))
    category = entry(five, CategoricalStatistics)
    assert category.categories == ["a", "b"]
    assert category.shares[1] == pytest.approx(200 / rows)
    for seat in five.run.seats.all():
        said = seat.statistics["document"]
        assert (said["numeric"], said["categorical"]) == ([], [])
    assert Receipt.objects.filter(run=five.run, subject="statistics").count() == 10


def test_a_receipt_says_what_left_under_a_mask_and_what_did_not(five, admin):
    talk(declared(five))
    rows, masked = Receipt.objects.filter(run=five.run, institution__slug=five.banks[0].slug, subject="statistics").order_by("at")
    words = "only the sum over the banks can be opened"
    assert words in browser(admin).get(f"/receipts/{masked.pk}/").content.decode()
    assert masked_statistics_bytes(five.banks[0].plan) == pytest.approx(masked.signed["document"]["update_bytes"], rel=0.05)
    assert words not in browser(admin).get(f"/receipts/{rows.pk}/").content.decode()


def test_statistics_in_the_clear_are_refused_under_masks(five):
    for bank in five.banks:
        bank.decide()
    five.advance()
    bank = five.banks[0]
    answer = bank.post("statistics", bank.report(five.run))
    assert (answer.status_code, answer.json()["code"]) == (422, "statistics_invalid")


@pytest.mark.parametrize("stage", ["shares", "masked"])
def test_a_bank_that_falls_silent_before_its_vector_came_is_not_in_the_run(five, stage):
    talk(declared(five), until=stage)
    talk(five, silent=("west",))
    expire(five)
    talk(five, silent=("west",))
    assert five.run.state == "running"
    states = dict(five.run.seats.values_list("institution__slug", "state"))
    assert states.pop("west") == Seat.State.ABSENT
    assert set(states.values()) == {Seat.State.SEATED}
    assert "west" not in five.run.roster


def test_too_few_banks_open_nothing_and_the_run_fails(five):
    talk(declared(five), until="masked")
    silent = ("west", "inland", "south")
    talk(five, silent=silent)
    expire(five)
    assert five.advance().state == "failed"
    assert Cohort.objects.get(run=five.run).stage == "failed"


def test_a_vector_that_is_not_the_one_that_was_signed_is_refused(five):
    talk(declared(five), until="masked")
    bank = five.banks[0]
    document = bank.work()
    from clientagent.wire.cohort_orders import CohortNotice
    from tests.wire.speaking import statistics_word

    notice = CohortNotice.model_validate(document)
    word, words = statistics_word(bank.parties, bank.plan, bank.bank.key, notice, bank.report(five.run))
    from clientagent.wire.canonical import canonical

    head = canonical(word)
    body = len(head).to_bytes(4, "big") + head + bytes(len(words))
    answer = bank.bank.post(f"/api/v1/cohorts/{notice.rid}/vector", body, content_type="application/vnd.fedportal.update")
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert not Cohort.objects.get(run=five.run).messages.filter(stage="masked").exists()


def test_what_the_portal_keeps_of_one_bank_is_not_its_statistics(five):
    """Two banks of the same statistics leave different, evenly spread words."""
    five.banks[1].rows = five.banks[0].rows
    talk(declared(five))
    said = Cohort.objects.get(run=five.run).messages.filter(stage="masked").values_list("signed", flat=True)
    vectors = [np.frombuffer(b"".join(blobs.read(one["document"]["digest"])), "<u4") for one in said]
    for vector in vectors:
        assert abs(float(vector.mean()) / 2**32 - 0.5) < 0.02
    assert len({vector.tobytes() for vector in vectors}) == 5


def test_a_run_that_is_stopped_takes_its_cohort_along(five, admin):
    talk(declared(five), until="shares")
    services.stop_run(run=five.run, user=admin, reason="a wrong plan")
    assert Cohort.objects.get(run=five.run).stage == "failed"
    assert all(bank.work() is None for bank in five.banks)


def test_the_live_page_shows_each_stage_and_who_fell_out(five, admin):
    talk(declared(five), until="masked")
    page = browser(admin).get(f"/runs/{five.run.pk}/").content.decode()
    assert "Masked statistics" in page
    talk(five, silent=("west",))
    expire(five)
    five.advance()
    view = statistics_view(five.run)
    assert (view.statuses("west")[2:], view.statuses("north")[2]) == (["bad", "idle"], "done")
