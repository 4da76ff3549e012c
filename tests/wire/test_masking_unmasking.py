"""What a bank refuses when a sum is to be opened: lists that differ, both secrets of a bank, a second sum of one base."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clientagent.wire.errors import (
    CohortMismatch,
    CohortTooSmall,
    ConsistencyBroken,
    SignatureInvalid,
    UnmaskRefused,
)
from clientagent.wire.masking import Party, Stage
from clientagent.wire.secure_messages import (
    ConsistencySignature,
    EncryptedShares,
    KeyList,
    MaskedInput,
    Opened,
    ShareInbox,
    SurvivorList,
    UnmaskRequest,
)
from clientagent.wire.signing import Signed, parse
from tests.wire.cohorts import (
    ME,
    MINE,
    NAMES,
    Rehearsal,
    at,
    identity_of,
    rehearse,
    replaced,
    resigned,
    terms_for,
)


# ---------------------------------------------------------------- consistency
def _confirm(rehearsal: Rehearsal, inputs: list[Signed]) -> Party:
    listed = SurvivorList(rid=rehearsal.collector.cohort.rid, inputs=inputs)
    return rehearsal.parties[ME].confirm(listed, identity=MINE)


def test_survivors_must_be_dealers_each_once_and_enough() -> None:
    rehearsal, survivors = at(Stage.CONSISTENCY, bank_03=Stage.SHARES)
    not_a_dealer = resigned(survivors.inputs[1], MaskedInput, institution="bank-03")
    for inputs in ([*survivors.inputs, not_a_dealer], [*survivors.inputs, survivors.inputs[1]]):
        with pytest.raises(ConsistencyBroken):
            _confirm(rehearsal, inputs)
    with pytest.raises(CohortTooSmall):
        _confirm(rehearsal, survivors.inputs[:2])


def test_the_portal_cannot_invent_a_survivor() -> None:
    rehearsal, survivors = at(Stage.CONSISTENCY)
    forged = resigned(survivors.inputs[1], MaskedInput, identity_of("portal"), digest="f" * 64)
    with pytest.raises(SignatureInvalid):
        _confirm(rehearsal, replaced(survivors.inputs, forged))


def test_a_bank_that_was_told_other_keys_or_dealers_is_noticed() -> None:
    rehearsal, survivors = at(Stage.CONSISTENCY)
    for changes in ({"keys_digest": "f" * 64}, {"dealers": NAMES[:3]}, {"words": 6}):
        other = resigned(survivors.inputs[1], MaskedInput, **changes)
        with pytest.raises(ConsistencyBroken):
            _confirm(rehearsal, replaced(survivors.inputs, other))


def test_two_groups_that_were_told_different_keys_do_not_open_anything() -> None:
    """The portal shows bank-03 a key list without bank-02, the others the whole list."""
    rehearsal, key_list = at(Stage.SHARES)
    short = KeyList(rid=key_list.rid, advertisements=[key_list.advertisements[i] for i in (0, 1, 3)])
    split = rehearsal.parties["bank-03"].share(short, identity=identity_of("bank-03"))
    assert split.shares is not None
    with pytest.raises(ConsistencyBroken):  # an honest portal notices at once
        rehearsal.collector.accept(split.shares)
    boxes = {
        name: parse(EncryptedShares, rehearsal.parties[name].share(key_list, identity=identity_of(name)).shares.document).boxes
        for name in (ME, "bank-01", "bank-02")
    }
    inbox = ShareInbox(
        rid=key_list.rid, institution=ME,
        boxes={"bank-01": boxes["bank-01"][ME], "bank-02": boxes["bank-02"][ME], "bank-03": split.shares.document["boxes"][ME]},
    )
    theirs = ShareInbox(rid=key_list.rid, institution="bank-03", boxes={name: boxes[name]["bank-03"] for name in (ME, "bank-01")})
    ours, _ = rehearsal.parties[ME].share(key_list, identity=MINE).receive(inbox).mask(rehearsal.vectors[ME], identity=MINE)
    split, _ = split.receive(theirs).mask(rehearsal.vectors["bank-03"], identity=identity_of("bank-03"))
    with pytest.raises(ConsistencyBroken):  # a lying one is noticed by the banks
        ours.confirm(SurvivorList(rid=key_list.rid, inputs=[ours.masked, split.masked]), identity=MINE)


def test_a_bank_that_is_not_among_the_survivors_signs_nothing() -> None:
    rehearsal, survivors = at(Stage.CONSISTENCY)
    replacement = resigned(survivors.inputs[0], MaskedInput, digest="f" * 64)
    for inputs in (survivors.inputs[1:], replaced(survivors.inputs, replacement)):
        with pytest.raises(UnmaskRefused):
            _confirm(rehearsal, inputs)


def test_a_second_survivor_list_for_the_same_cohort_is_refused() -> None:
    rehearsal, survivors = at(Stage.CONSISTENCY)
    party = rehearsal.parties[ME].confirm(survivors, identity=MINE)
    with pytest.raises(ConsistencyBroken):
        party.confirm(SurvivorList(rid=survivors.rid, inputs=survivors.inputs[:3]), identity=MINE)


# -------------------------------------------------------------------- unmask
def _unmask(
    rehearsal: Rehearsal, request: UnmaskRequest, *, previous: tuple[Opened, ...] = (), may_reopen: bool = False
) -> Party:
    return rehearsal.parties[ME].unmask(request, identity=MINE, previous=previous, may_reopen=may_reopen)


def test_an_answer_holds_one_secret_of_each_bank() -> None:
    rehearsal, request = at(Stage.UNMASK, bank_03=Stage.MASKED)
    answer = _unmask(rehearsal, request).answer
    assert answer is not None
    assert sorted(answer.document["self_shares"]) == NAMES[:3]
    assert sorted(answer.document["pair_shares"]) == ["bank-03"]


@pytest.mark.parametrize(("self_of", "pair_of"), [
    (NAMES[:3], ["bank-02", "bank-03"]),  # both secrets of bank-02
    (NAMES[:4], ["bank-03"]),  # both of the one that dropped
    (NAMES[:2], ["bank-02", "bank-03"]),  # a survivor declared dropped
    (NAMES[:4], []),  # one that dropped declared a survivor
    (NAMES[:3], []), ([], ["bank-03"]), ([*NAMES[:3], "bank-02"], ["bank-03"]), (NAMES[:3], ["bank-03", "stranger"]),
])
def test_a_request_for_other_secrets_than_the_signed_survivors_is_refused(self_of: list[str], pair_of: list[str]) -> None:
    rehearsal, request = at(Stage.UNMASK, bank_03=Stage.MASKED)
    with pytest.raises(UnmaskRefused):
        _unmask(rehearsal, request.model_copy(update={"self_of": self_of, "pair_of": pair_of}))


def test_fewer_signatures_than_the_threshold_open_nothing() -> None:
    rehearsal, request = at(Stage.UNMASK, bank_03=Stage.MASKED)
    twice = [request.consistency[0], request.consistency[1], request.consistency[1]]
    for words in (request.consistency[:2], [], twice):
        with pytest.raises(UnmaskRefused):
            _unmask(rehearsal, request.model_copy(update={"consistency": words}))


def test_one_that_dropped_does_not_count_among_the_signatures() -> None:
    rehearsal, request = at(Stage.UNMASK, bank_03=Stage.MASKED)
    of_the_dropped = resigned(request.consistency[1], ConsistencySignature, institution="bank-03")
    with pytest.raises(ConsistencyBroken):
        _unmask(rehearsal, request.model_copy(update={"consistency": [*request.consistency[:2], of_the_dropped]}))


def test_both_secrets_of_one_bank_are_refused_by_name() -> None:
    rehearsal, request = at(Stage.UNMASK, bank_03=Stage.MASKED)
    with pytest.raises(UnmaskRefused, match="both of bank-02"):
        _unmask(rehearsal, request.model_copy(update={"pair_of": ["bank-02", "bank-03"]}))


def test_a_list_or_request_under_another_cohorts_name_is_refused() -> None:
    for stage in (Stage.SHARES, Stage.MASKED, Stage.CONSISTENCY, Stage.UNMASK):
        rehearsal, notice = at(stage)
        rehearsal.collector = _Renamed(notice)  # type: ignore[assignment]
        with pytest.raises(CohortMismatch):
            rehearsal.speak(ME)


class _Renamed:
    """A portal that says the right thing under a wrong name."""

    def __init__(self, notice: Any) -> None:
        self._notice = notice.model_copy(update={"rid": "e" * 64})
        self.stage = {KeyList: Stage.SHARES, ShareInbox: Stage.MASKED, SurvivorList: Stage.CONSISTENCY}.get(
            type(notice), Stage.UNMASK
        )

    def notice(self, institution: str) -> Any:
        return self._notice


def test_a_signature_on_another_survivor_list_is_proof_that_somebody_lied() -> None:
    rehearsal, request = at(Stage.UNMASK)
    inputs = {bank: digest for bank, digest in request.consistency[1].document["inputs"].items() if bank != "bank-03"}
    for changes in ({"inputs": inputs}, {"dealers": NAMES[:3]}, {"keys_digest": "f" * 64}):
        other = resigned(request.consistency[1], ConsistencySignature, **changes)
        with pytest.raises(ConsistencyBroken):
            _unmask(rehearsal, request.model_copy(update={"consistency": replaced(request.consistency, other)}))


def test_the_portal_cannot_sign_for_a_bank() -> None:
    rehearsal, request = at(Stage.UNMASK)
    forged = resigned(request.consistency[1], ConsistencySignature, identity_of("portal"))
    with pytest.raises(SignatureInvalid):
        _unmask(rehearsal, request.model_copy(update={"consistency": replaced(request.consistency, forged)}))


def test_signatures_of_another_cohort_open_nothing() -> None:
    rehearsal, request = at(Stage.UNMASK)
    old = rehearse(terms_for(attempt=2)).run(until=Stage.UNMASK).collector.notice(ME)
    for replay in (old, request.model_copy(update={"consistency": old.consistency})):
        with pytest.raises(CohortMismatch):
            _unmask(rehearsal, replay)


# ----------------------------------------------------- one sum of a base version
def test_a_base_version_is_opened_once_even_by_another_attempt() -> None:
    first, request = at(Stage.UNMASK)
    before = _unmask(first, request).opened
    second = rehearse(terms_for(attempt=2), {"bank-03": Stage.MASKED}).run(until=Stage.UNMASK)
    asked = second.collector.notice(ME)
    with pytest.raises(UnmaskRefused, match="second"):
        _unmask(second, asked, previous=(before,))
    assert _unmask(second, asked, previous=(before,), may_reopen=True).answer is not None


@pytest.mark.parametrize(("changes", "refused"), [
    ({}, True), ({"run": "00000000-0000-4000-8000-000000000002"}, True), ({"base_number": 9}, True),
    ({"base_digest": "c" * 64}, True),
    ({"base_digest": "c" * 64, "base_number": 9}, False), ({"purpose": "evaluation"}, False),
    ({"run": "00000000-0000-4000-8000-000000000002", "base_digest": "c" * 64}, False),
])
def test_the_same_base_is_known_by_its_place_or_by_its_weights(changes: dict[str, Any], refused: bool) -> None:
    rehearsal, request = at(Stage.UNMASK)
    party = rehearsal.parties[ME]
    before = party.opened.model_copy(update={"survivors": NAMES[:3], **changes})
    if refused:
        with pytest.raises(UnmaskRefused):
            _unmask(rehearsal, request, previous=(before,))
    else:
        assert _unmask(rehearsal, request, previous=(before,)).answer is not None


def test_the_same_survivors_with_the_same_input_may_be_opened_again() -> None:
    first, request = at(Stage.UNMASK)
    before = _unmask(first, request).opened
    second = rehearse(terms_for(attempt=2)).run(until=Stage.UNMASK)
    assert _unmask(second, second.collector.notice(ME), previous=(before,)).answer is not None
    other = replace(second.parties[ME], update_digest="f" * 64)
    with pytest.raises(UnmaskRefused):
        other.unmask(second.collector.notice(ME), identity=MINE, previous=[before])
