"""A masked round through the agents' door: who is summed, that the sum is exact, and what is refused."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from clientagent.wire.canonical import canonical
from clientagent.wire.errors import IllegalMove
from clientagent.wire.masking import dequantise
from clientagent.wire.messages import UploadRequest, WorkRefusal
from clientagent.wire.tensors import unpack
from rounds import services
from rounds.lifecycle import Phase
from rounds.models import Cohort, CohortMessage, Participation, Update
from rounds.services.updates import layout_for
from rounds.storage import blobs
from tests.cast import browser, make_bank
from tests.rounds.masked import masked, ready, talk
from tests.rounds.scripted import API, SPLIT, Federation, make_federation, weights_of

pytestmark = pytest.mark.usefixtures("nobody_lingers")

SECURE: dict[str, Any] = {"secure_aggregation": {"threshold": 0.6, "min_cohort": 3}}


def slowly(stage: str) -> Any:
    """The same rule as in the other stages."""
    return pytest.param(stage, marks=pytest.mark.slow)


@pytest.fixture
def five(north, south, east, admin) -> Federation:
    """Five banks with round 1 open; three of them must stay."""
    banks = [north, south, east, make_bank("west", by=admin), make_bank("inland", by=admin)]
    federation = masked(make_federation(banks, admin, privacy=SECURE))
    federation.begin()
    return federation


def phases(federation: Federation, number: int = 1) -> dict[str, str]:
    rows = Participation.objects.filter(round__run=federation.run, round__number=number)
    return dict(rows.values_list("institution__slug", "phase"))


def expire(federation: Federation) -> None:
    """The time of the stage that is open is over."""
    Cohort.objects.exclude(round=None).filter(round__run=federation.run).update(deadline_at=timezone.now() - timedelta(seconds=1))


def exact_mean(federation: Federation, banks: list[str]) -> np.ndarray[Any, Any]:
    """What the plain quantised updates of these banks come to."""
    members = [bank for bank in federation.banks if bank.slug in banks]
    cohort = members[0].cohort
    total = np.sum([bank.integers().astype(np.int64) for bank in members], axis=0)
    return (dequantise(total, cohort.ring.places[0].segment) / cohort.divisor_of(banks)).astype(np.float32)


def opened_mean(federation: Federation) -> np.ndarray[Any, Any]:
    mean = Cohort.objects.exclude(round=None).get(stage="done").mean_id
    return unpack(b"".join(blobs.read(mean)), layout_for(federation.run))


# ----------------------------------------------------------------------- the road
def test_a_round_of_all_banks_publishes_the_exact_mean_of_their_quantised_updates(five):
    ready(five)
    talk(five)
    run = five.run
    assert run.versions.count() == 2
    everybody = sorted(bank.slug for bank in five.banks)
    mean = exact_mean(five, everybody)
    assert np.array_equal(opened_mean(five), mean)
    plan = five.banks[0].plan
    assert np.array_equal(weights_of(run, 1, plan), weights_of(run, 0, plan) + mean)
    assert set(phases(five).values()) == {Phase.ACCEPTED}


def test_nothing_of_one_bank_stands_beside_its_masked_update(five):
    ready(five)
    talk(five)
    for update in Update.objects.all():
        assert (update.norm, update.train_loss, update.cosine) == (None, None, None)


@pytest.mark.parametrize("stage", [slowly("keys"), "shares", "masked"])
def test_banks_that_fall_silent_before_their_vector_came_are_not_in_the_sum(five, stage):
    ready(five)
    talk(five, until=stage)
    silent = {"inland", "west"}
    talk(five, silent=silent)
    assert five.run.versions.count() == 1
    expire(five)
    talk(five, silent=silent)
    assert five.run.versions.count() == 2
    stayed = ["east", "north", "south"]
    assert np.array_equal(opened_mean(five), exact_mean(five, stayed))
    found = phases(five)
    assert {slug for slug, phase in found.items() if phase == Phase.DROPPED} == silent
    assert {slug for slug, phase in found.items() if phase == Phase.ACCEPTED} == set(stayed)
    problem = Participation.objects.get(round__number=1, institution__slug="west").problem
    assert (problem["code"], stage in problem["expected"]) == ("stage_missed", True)


@pytest.mark.parametrize("stage", ["consistency", "unmask"])
def test_banks_that_fall_silent_after_their_vector_came_are_in_the_sum(five, stage):
    ready(five)
    talk(five, until=stage)
    silent = {"inland", "west"}
    talk(five, silent=silent)
    if stage == "consistency":
        expire(five)
        talk(five, silent=silent)
    assert np.array_equal(opened_mean(five), exact_mean(five, sorted(bank.slug for bank in five.banks)))
    assert set(phases(five).values()) == {Phase.ACCEPTED}


@pytest.mark.parametrize("stage", ["keys", slowly("shares"), "masked", slowly("consistency"), "unmask"])
def test_too_few_banks_give_the_attempt_up_and_the_next_one_opens(five, stage):
    ready(five)
    talk(five, until=stage)
    talk(five, silent={"inland", "west", "south"})
    expire(five)
    five.advance()
    rounds = list(five.run.rounds.values_list("number", "attempt", "state", "reason"))
    assert [row[:3] for row in rounds] == [(1, 1, "abandoned"), (1, 2, "open")]
    assert f"stage {stage}" in rounds[0][3]
    assert "south" in rounds[0][3] or stage == "unmask"
    assert Cohort.objects.exclude(round=None).get().stage == "failed"


def test_quorum_is_asked_before_anything_can_be_opened(north, south, east, admin):
    banks = [north, south, east, make_bank("west", by=admin)]
    federation = masked(make_federation(banks, admin, privacy=SECURE, schedule={"rounds": 1, "quorum": 1.0}))
    federation.begin()
    ready(federation)
    talk(federation, until="masked")
    talk(federation, silent={"west"})
    expire(federation)
    federation.advance()
    assert Cohort.objects.exclude(round=None).get().stage == "failed"
    assert not CohortMessage.objects.exclude(cohort__round=None).filter(stage__in=("consistency", "unmask")).exists()


def test_a_bank_that_refuses_to_go_on_is_not_waited_for(five):
    """It was told something that does not fit: its vector stays in the sum, and the others open it."""
    ready(five)
    talk(five, until="consistency")
    bank = five.banks[-1]
    word = WorkRefusal(
        run=str(five.run.pk), institution=bank.slug, round=1, attempt=1, code="consistency_broken", reason="another list"
    )
    assert bank.post("refusals", word).status_code == 200
    assert bank.notice() is None
    talk(five)
    assert np.array_equal(opened_mean(five), exact_mean(five, sorted(bank.slug for bank in five.banks)))


def test_a_bank_can_be_dropped_until_its_vector_is_in(five, admin):
    ready(five)
    talk(five, until="masked")
    west, inland = (next(bank for bank in five.banks if bank.slug == slug) for slug in ("west", "inland"))
    assert west.answer().status_code in (200, 204)
    with pytest.raises(IllegalMove, match="part of the sum"):
        services.drop_bank(run=five.run, institution=west.bank.institution, user=admin, reason="too slow")
    services.drop_bank(run=five.run, institution=inland.bank.institution, user=admin, reason="too slow")
    talk(five)
    assert np.array_equal(opened_mean(five), exact_mean(five, ["east", "north", "south", "west"]))


def test_a_paused_run_waits_and_its_stage_begins_anew_when_it_resumes(five, admin):
    ready(five)
    talk(five, until="shares")
    services.pause_run(run=five.run, user=admin, reason="maintenance")
    expire(five)
    five.advance()
    assert Cohort.objects.exclude(round=None).get().stage == "shares"
    assert five.banks[0].notice() is None
    services.resume_run(run=five.run, user=admin, reason="done")
    five.advance()
    assert Cohort.objects.exclude(round=None).get().deadline_at > timezone.now()
    talk(five)
    assert five.run.versions.count() == 2


def test_more_time_for_the_round_is_more_time_for_its_stage(five, admin):
    ready(five)
    five.advance()
    before = Cohort.objects.exclude(round=None).get().deadline_at
    services.extend_deadline(run=five.run, seconds=60, user=admin, reason="slow lines")
    assert Cohort.objects.exclude(round=None).get().deadline_at == before + timedelta(seconds=60)


def test_a_large_vector_that_comes_in_parts_keeps_its_stage_open(five):
    ready(five)
    talk(five, until="masked")
    bank = five.banks[0]
    manifest, data = bank.masked_update(bank.word(bank.notice()))
    wish = UploadRequest(manifest=manifest, part_bytes=1024)
    session = bank.bank.post(f"{API}/uploads", canonical(wish)).json()["id"]
    expire(five)
    put = bank.bank.call("PUT", f"{API}/uploads/{session}/parts/0", data, content_type="application/octet-stream")
    assert put.status_code == 200, put.content
    assert Cohort.objects.exclude(round=None).get().deadline_at > timezone.now()


# ----------------------------------------------------------------- forming a cohort
def test_a_cohort_waits_a_stage_for_the_last_banks_and_then_forms_without_them(five):
    ready(five, silent={"inland"})
    five.advance()
    assert not Cohort.objects.exclude(round=None).exists()
    Participation.objects.filter(ready_at__isnull=False).update(ready_at=timezone.now() - timedelta(seconds=31))
    five.advance()
    members = [member["institution"] for member in Cohort.objects.exclude(round=None).get().terms["members"]]
    assert members == ["east", "north", "south", "west"]
    assert phases(five)["inland"] == Phase.DROPPED


def test_a_bank_that_is_ready_too_late_is_told_so(five):
    ready(five, silent={"inland"})
    Participation.objects.filter(ready_at__isnull=False).update(ready_at=timezone.now() - timedelta(seconds=31))
    straggler = five.banks[-1]
    order = straggler.work()
    five.advance()
    straggler.work = lambda: order
    answer = straggler.train(five.run)
    assert answer.json()["receipt"]["document"]["outcome"] == "late"
    assert phases(five)["inland"] == Phase.LATE


def test_the_same_word_again_changes_nothing_and_another_one_is_refused(five):
    ready(five)
    five.advance()
    bank = five.banks[0]
    notice = bank.notice()
    assert bank.speak(notice).status_code in (200, 204)
    again = bank.bank.post(f"{API}/cohorts/{notice.rid}/messages", canonical(bank.said["keys"]))
    assert again.status_code == 204
    other = bank.word(notice)
    answer = bank.bank.post(f"{API}/cohorts/{notice.rid}/messages", canonical(other))
    assert (answer.status_code, answer.json()["code"]) == (409, "update_conflict")
    assert CohortMessage.objects.exclude(cohort__round=None).count() == 1


# ----------------------------------------------------------------------- int8
def test_int8_puts_two_rotated_values_in_a_word_from_the_second_round_on(north, south, east, admin):
    wide = {"family": "mlp", "hidden": [64, 64]}
    federation = masked(make_federation(
        [north, south, east], admin, privacy=SECURE, model=wide, compression={"codec": "int8"}, schedule={"rounds": 2}
    ))
    federation.begin()
    ready(federation)
    talk(federation, until=None)
    ready(federation, seed=9)
    talk(federation)
    first, second = (set(Update.objects.filter(into__number=n).values_list("bytes", flat=True)).pop() for n in (1, 2))
    parameters = layout_for(federation.run).parameters
    counts = sum(place.words for place in federation.banks[0].cohort.ring.places[1:])
    assert (first, second - 4 * counts) == (4 * parameters, 2 * -(-parameters // 4096) * 4096)
    factors = {bank.slug: bank.cohort.factor_of(bank.slug) for bank in federation.banks}
    mean = sum(factors[bank.slug] * bank.plain.astype(np.float64) for bank in federation.banks) / sum(factors.values())
    opened = unpack(b"".join(blobs.read(Cohort.objects.exclude(round=None).get(round__number=2).mean_id)), layout_for(federation.run))
    assert np.linalg.norm(opened - mean) < 0.01 * np.linalg.norm(mean)


# ----------------------------------------------------------------------- refusals
def test_a_plain_update_is_refused_where_the_plan_masks(five):
    bank = five.banks[0]
    order = bank.work()
    answer = bank.send(*bank.update(five.run, order, bank.difference(five.run, 1)))
    assert answer.json()["code"] == "malformed"
    assert not Update.objects.exists()


def test_a_masked_update_that_tells_its_norm_loss_or_counts_is_refused(five):
    ready(five)
    talk(five, until="masked")
    bank = five.banks[0]
    word = bank.word(bank.notice())
    counts = {"number": 0, "version_digest": five.run.versions.get().digest, "validation": SPLIT, "holdout": SPLIT}
    for telling in ({"norm": 1.0}, {"train_loss": 0.5}, {"counts": counts}):
        answer = bank.send(*bank.masked_update(word, **telling))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


def test_a_share_from_an_earlier_cohort_is_refused(five):
    """Replaying: words of a cohort that failed serve in no other."""
    ready(five)
    talk(five, until="masked")
    old = {bank.slug: dict(bank.said) for bank in five.banks}
    expire(five)
    five.advance()
    ready(five)
    talk(five, until="shares")
    rid = Cohort.objects.exclude(round=None).get(stage="shares").rid
    for bank in five.banks:
        answer = bank.bank.post(f"{API}/cohorts/{rid}/messages", canonical(old[bank.slug]["shares"]))
        assert answer.json()["code"] == "cohort_mismatch"


def test_a_bank_cannot_speak_for_another(five):
    ready(five)
    five.advance()
    north, south = five.banks[:2]
    notice = south.notice()
    stolen = south.word(notice)
    answer = north.bank.post(f"{API}/cohorts/{notice.rid}/messages", canonical(stolen))
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid")


def test_an_outsider_finds_no_cohort(five, outsider):
    ready(five)
    five.advance()
    bank = five.banks[0]
    notice = bank.notice()
    answer = outsider.post(f"{API}/cohorts/{notice.rid}/messages", canonical(bank.word(notice)))
    assert answer.status_code == 404


def test_a_vector_that_breaks_the_ring_is_never_published(five):
    """A bank that puts more into a field than the terms allow spoils the sum; it is found out, and the attempt is given up."""
    ready(five)
    talk(five, until="masked")
    rogue = five.banks[0]
    rogue.vector = lambda: np.full(rogue.cohort.ring.words, 3_000_000_000, np.dtype("<u4"))
    talk(five)
    assert five.run.versions.count() == 1
    first = five.run.rounds.get(attempt=1)
    assert first.state == "abandoned"
    assert "sum of update" in first.reason


# ---------------------------------------------------------------------- the live page
def cells(page: str, slug: str) -> list[str]:
    """The state of each column of one bank's row."""
    row = page.split(f'id="bank-{slug}"')[1].split('<div class="phase-row')[0]
    return re.findall(r'class="phase-cell (\w+)"', row)


def test_the_page_shows_the_stage_and_who_fell_out_where(five, admin):
    ready(five)
    talk(five, until="shares")
    talk(five, silent={"west"})
    page = browser(admin).get(f"/runs/{five.run.pk}/").content.decode()
    assert "Dealing shares" in page
    assert "Waiting for West" in page
    assert cells(page, "west")[2:6] == ["done", "waiting", "ahead", "ahead"]
    assert cells(page, "north")[2:6] == ["done", "done", "ahead", "ahead"]
    expire(five)
    five.advance()
    page = browser(admin).get(f"/runs/{five.run.pk}/").content.decode()
    assert "Collecting masked updates" in page
    assert cells(page, "west")[2:] == ["done", "bad", "idle", "idle", "bad"]
    assert "stage_missed" in page
    talk(five, silent={"west"})
    page = browser(admin).get(f"/runs/{five.run.pk}/rounds/1/").content.decode()
    assert cells(page, "north") == ["done"] * 7
