"""Whatever is wrong with an upload gets its own typed error, leaves the round as it was, and loses nothing."""

from __future__ import annotations

import numpy as np
import pytest

from audit.models import Entry
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.signing import Signed
from clientagent.wire.tensors import Layout, pack
from rounds.models import Participation, Update
from rounds.storage import blobs
from tests.rounds.scripted import ScriptedBank

pytestmark = pytest.mark.django_db


@pytest.fixture
def bank(running) -> ScriptedBank:
    running.run.refresh_from_db()
    return running.banks[0]


def _order(bank: ScriptedBank) -> dict:
    order = bank.work()
    assert order is not None
    return order


def _refused(answer, status: int, code: str) -> dict:
    assert answer.status_code == status, answer.content
    problem = answer.json()
    assert problem["code"] == code
    assert set(problem) == {"code", "expected", "got", "action"}
    assert problem["action"]
    return problem


def _round_is_untouched(running, bank: ScriptedBank) -> None:
    round_ = running.run.rounds.get()
    assert round_.state == "open"
    assert not Update.objects.filter(participation__round=round_).exists()
    answer = bank.train(running.run, seed=1)
    assert answer.status_code == 200, answer.content
    assert answer.json()["receipt"]["document"]["outcome"] == "accepted"


def test_a_truncated_body_is_refused(running, bank):
    statement, data = bank.update(running.run, _order(bank), bank.difference(running.run, 1))
    _refused(bank.send(statement, data[:-4]), 422, "digest_mismatch")
    _refused(bank.bank.post("/api/v1/updates", b"\0\0"), 400, "truncated")
    _round_is_untouched(running, bank)


def test_an_update_larger_than_the_plan_implies_is_refused_before_it_is_kept(running, bank):
    order = _order(bank)
    statement, data = bank.update(running.run, order, bank.difference(running.run, 1))
    _refused(bank.send(statement, data + bytes(1000)), 413, "too_large")
    claim, _ = bank.update(running.run, order, bank.difference(running.run, 1), update_bytes=10**9)
    _refused(bank.send(claim, data), 422, "tensors_mismatch")
    assert not list((blobs.root() / "incoming").iterdir())
    _round_is_untouched(running, bank)


def test_another_shape_is_refused_and_named(running, bank):
    layout = Layout({"layers.0.weight": (1, 4), "layers.0.bias": (1,)})
    _, good = bank.update(running.run, _order(bank), bank.difference(running.run, 1))
    wrong = pack(np.zeros(layout.parameters, np.float32), layout)
    wrong += bytes(max(0, len(good) - len(wrong)))
    statement = _claim(running, bank, wrong[: len(good)], len(good))
    problem = _refused(bank.send(statement, wrong[: len(good)]), 422, "tensors_mismatch")
    assert "layers.0.weight" in problem["expected"]
    _round_is_untouched(running, bank)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(running, bank, bad):
    flat = bank.difference(running.run, 1)
    flat[0] = bad
    statement, data = bank.update(running.run, _order(bank), flat)
    _refused(bank.send(statement, data), 422, "not_finite")
    _round_is_untouched(running, bank)


def test_a_base_that_was_not_given_is_refused(running, bank):
    statement, data = bank.update(running.run, _order(bank), bank.difference(running.run, 1), base_digest="1" * 64)
    _refused(bank.send(statement, data), 409, "base_mismatch")
    _round_is_untouched(running, bank)


def test_more_rows_than_declared_are_refused(running, bank):
    statement, data = bank.update(running.run, _order(bank), bank.difference(running.run, 1), rows=10**9)
    _refused(bank.send(statement, data), 422, "counts_invalid")
    _round_is_untouched(running, bank)


@pytest.mark.parametrize("field", ["round", "attempt"])
def test_an_unknown_round_is_refused(running, bank, field):
    statement, data = bank.update(running.run, _order(bank), bank.difference(running.run, 1), **{field: 99})
    _refused(bank.send(statement, data), 404, "round_unknown")
    _round_is_untouched(running, bank)


def test_another_banks_update_is_refused(running, bank):
    other = running.banks[1]
    statement, data = other.update(running.run, _order(other), other.difference(running.run, 1))
    head = canonical(statement)
    answer = bank.bank.post("/api/v1/updates", len(head).to_bytes(4, "big") + head + data)
    _refused(answer, 401, "signature_invalid")
    _round_is_untouched(running, bank)


def test_a_forged_manifest_is_refused(running, bank):
    statement, data = bank.update(running.run, _order(bank), bank.difference(running.run, 1))
    forged = Signed(document={**statement.document, "rows": 99}, signature=statement.signature)
    _refused(bank.send(forged, data), 401, "signature_invalid")
    _round_is_untouched(running, bank)


def test_an_outsider_finds_no_round(running, outsider, bank):
    stranger = ScriptedBank(outsider, bank.plan, bank.rows)
    assert stranger.work() is None
    statement, data = stranger.update(running.run, _order(bank), bank.difference(running.run, 1))
    _refused(stranger.send(statement, data), 404, "round_unknown")


def test_different_bytes_for_the_same_slot_conflict(running, bank):
    order = _order(bank)
    assert bank.send(*bank.update(running.run, order, bank.difference(running.run, 1))).status_code == 200
    _refused(bank.send(*bank.update(running.run, order, bank.difference(running.run, 2))), 409, "update_conflict")
    first, _ = bank.update(running.run, order, bank.difference(running.run, 1))
    assert Update.objects.get().digest == first.document["update_digest"]


def test_an_update_after_closing_gets_a_receipt_that_says_late(running, bank):
    run = running.run
    order = _order(bank)
    statement, data = bank.update(run, order, bank.difference(run, 1))
    round_ = run.rounds.get()
    round_.needed = 2
    round_.save()
    running.round(banks=running.banks[1:])
    answer = bank.send(statement, data)
    assert answer.status_code == 200, answer.content
    assert answer.json()["receipt"]["document"]["outcome"] == "late"
    assert Participation.objects.get(round=round_, institution__slug=bank.slug).phase == "late"
    assert bank.send(statement, data).json()["receipt"] == answer.json()["receipt"]


def test_an_authenticated_refusal_is_on_the_ledger_and_on_the_page(running, bank):
    flat = bank.difference(running.run, 1)
    flat[0] = np.nan
    bank.send(*bank.update(running.run, _order(bank), flat))
    entry = Entry.objects.get(chain_id=running.run.chain, kind="update_refused")
    assert (entry.body["institution"], entry.body["code"]) == (bank.slug, "not_finite")
    participation = Participation.objects.get(round__run=running.run, institution__slug=bank.slug)
    assert participation.phase == "rejected"
    assert participation.problem["code"] == "not_finite"


def test_a_flood_of_refusals_does_not_fill_the_ledger(running, bank):
    order = _order(bank)
    for seed in range(45):
        bank.send(*bank.update(running.run, order, bank.difference(running.run, seed), rows=1))
    assert 20 <= Entry.objects.filter(kind="update_refused").count() <= 41


def _claim(running, bank: ScriptedBank, data: bytes, size: int) -> Signed:
    statement, _ = bank.update(
        running.run, _order(bank), bank.difference(running.run, 1), update_digest=sha256_hex(data), update_bytes=size
    )
    return statement
