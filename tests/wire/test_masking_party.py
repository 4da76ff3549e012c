"""What a bank refuses when the portal, or another bank, lies: each attempt at its update, its masks or its shares."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clientagent.wire.canonical import canonical
from clientagent.wire.errors import (
    CohortMismatch,
    CohortTooSmall,
    ConsistencyBroken,
    Malformed,
    MaskKeyInvalid,
    MaskReused,
    ShareInvalid,
    SignatureInvalid,
    StageClosed,
    UnmaskRefused,
)
from clientagent.wire.masking import Party, Stage, keys, reals
from clientagent.wire.secure_messages import (
    BankDocument,
    ConsistencySignature,
    EncryptedShares,
    KeyAdvertisement,
    KeyList,
    MaskedInput,
    Opened,
    ShareInbox,
    SharePair,
    SurvivorList,
    UnmaskRequest,
)
from clientagent.wire.signing import PrivateKey, Signed, parse, sign_document
from tests.wire.cohorts import NAMES, Rehearsal, entropy_of, identity_of, member, rehearse, small, terms_for

ME = "bank-00"
MINE = identity_of(ME)


def at(stage: Stage, **gone: Stage) -> tuple[Rehearsal, Any]:
    """A cohort of four that has come to a stage, and what the portal tells us in it."""
    rehearsal = rehearse(gone={name.replace("_", "-"): when for name, when in gone.items()}).run(until=stage)
    return rehearsal, rehearsal.collector.notice(ME)


def resigned(signed: Signed, model: type[BankDocument], key: PrivateKey | None = None, **changes: Any) -> Signed:
    """The same bank's document with other content, signed again by that bank, or by ``key``."""
    document = parse(model, {**signed.document, **changes})
    return sign_document(document, key or identity_of(document.institution))


def replaced(signed: list[Signed], other: Signed) -> list[Signed]:
    return [other if one.document["institution"] == other.document["institution"] else one for one in signed]


# ------------------------------------------------------------------- joining
@pytest.mark.parametrize(("field", "value"), [
    ("attempt", 2), ("cohort", 2), ("round", 6), ("run", "00000000-0000-4000-8000-000000000002"), ("manifest_digest", "c" * 64),
    ("threshold", 4), ("min_cohort", 4), ("purpose", "evaluation"), ("clip", 1.0), ("noise_multiplier", 2.0),
    ("weighting", "samples"), ("project", "another"), ("segments", [reals("update", 5, bound=2.0, parties=4)]),
    ("members", [member(name) for name in NAMES[:3]]), ("members", [member(name, weight=0.5) for name in NAMES[:4]]),
    ("members", [member(name, base_digest="c" * 64) for name in NAMES[:4]]),
])
def test_terms_that_differ_from_our_own_in_anything_are_refused(field: str, value: Any) -> None:
    offered = terms_for(**{field: value})
    with pytest.raises(CohortMismatch) as refusal:
        Party.join(offered, own=terms_for(), institution=ME, identity=MINE)
    assert field in refusal.value.expected


def test_an_identity_that_is_not_pinned_is_refused() -> None:
    stranger = member("bank-03").model_copy(update={"public_key": identity_of("stranger").public.text})
    with pytest.raises(CohortMismatch):
        Party.join(
            terms_for(members=[*(member(name) for name in NAMES[:3]), stranger]), own=terms_for(), institution=ME, identity=MINE
        )


def test_a_bank_joins_only_as_itself() -> None:
    with pytest.raises(CohortMismatch):
        Party.join(terms_for(), own=terms_for(), institution="bank-01", identity=MINE)


def test_keys_are_fresh_for_each_cohort() -> None:
    first, second = (Party.join(terms_for(), own=terms_for(), institution=ME, identity=MINE) for _ in range(2))
    said = [parse(KeyAdvertisement, party.advertisement.document) for party in (first, second)]
    assert len({key for one in said for key in (one.cipher_key, one.mask_key, one.commitment)}) == 6


# ---------------------------------------------------------------------- keys
def _share(key_list: KeyList, party: Party) -> Party:
    return party.share(key_list, identity=MINE)


def test_a_portal_in_the_middle_cannot_put_its_own_keys_in_place() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    victim = key_list.advertisements[1]
    forged = {"mask_key": keys.public_of(bytes([7]) * 32), "cipher_key": keys.public_of(bytes([8]) * 32)}
    unsigned = Signed(document={**victim.document, **forged}, signature=victim.signature)
    for fake in (unsigned, resigned(victim, KeyAdvertisement, identity_of("portal"), **forged)):
        with pytest.raises(SignatureInvalid):
            _share(KeyList(rid=key_list.rid, advertisements=replaced(key_list.advertisements, fake)), rehearsal.parties[ME])


def test_a_stranger_among_the_keys_is_refused() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    stranger = resigned(key_list.advertisements[1], KeyAdvertisement, institution="stranger")
    with pytest.raises(CohortMismatch):
        _share(KeyList(rid=key_list.rid, advertisements=[*key_list.advertisements, stranger]), rehearsal.parties[ME])


def test_keys_of_another_attempt_are_refused() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    old = rehearse(terms_for(attempt=2)).run(until=Stage.SHARES).collector.notice(ME)
    mixed = KeyList(rid=key_list.rid, advertisements=[key_list.advertisements[0], *old.advertisements[1:]])
    for replay in (old, mixed):
        with pytest.raises(CohortMismatch):
            _share(replay, rehearsal.parties[ME])


def test_a_list_with_our_keys_replaced_left_out_or_repeated_is_refused() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    ours = key_list.advertisements[0]
    others = resigned(ours, KeyAdvertisement, commitment="d" * 64)
    for wrong in (key_list.advertisements[1:], replaced(key_list.advertisements, others), [*key_list.advertisements, ours]):
        with pytest.raises(ConsistencyBroken):
            _share(KeyList(rid=key_list.rid, advertisements=wrong), rehearsal.parties[ME])


def test_a_bank_that_copies_anothers_key_is_refused() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    ours = parse(KeyAdvertisement, key_list.advertisements[0].document)
    copy = resigned(key_list.advertisements[1], KeyAdvertisement, mask_key=ours.mask_key)
    with pytest.raises(MaskKeyInvalid):
        _share(KeyList(rid=key_list.rid, advertisements=replaced(key_list.advertisements, copy)), rehearsal.parties[ME])


def test_a_weak_key_is_refused() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    weak = resigned(key_list.advertisements[1], KeyAdvertisement, cipher_key="00" * 32)
    with pytest.raises(MaskKeyInvalid):
        _share(KeyList(rid=key_list.rid, advertisements=replaced(key_list.advertisements, weak)), rehearsal.parties[ME])


def test_a_cohort_that_shrank_below_the_threshold_gets_no_shares() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    with pytest.raises(CohortTooSmall):
        _share(KeyList(rid=key_list.rid, advertisements=key_list.advertisements[:2]), rehearsal.parties[ME])


def test_a_second_list_of_keys_is_refused() -> None:
    rehearsal, key_list = at(Stage.SHARES)
    party = _share(key_list, rehearsal.parties[ME])
    with pytest.raises(ConsistencyBroken):
        _share(KeyList(rid=key_list.rid, advertisements=key_list.advertisements[:3]), party)


# -------------------------------------------------------------------- shares
def _flip(box: str) -> str:
    data = bytearray(base64.b64decode(box))
    data[20] ^= 1
    return base64.b64encode(data).decode()


def test_boxes_that_were_changed_swapped_or_replayed_do_not_open() -> None:
    rehearsal, inbox = at(Stage.MASKED)
    boxes = inbox.boxes
    elsewhere = rehearsal.collector.notice("bank-03").boxes["bank-01"]
    before = rehearse(terms_for(attempt=2)).run(until=Stage.MASKED).collector.notice(ME).boxes["bank-01"]
    for box in (_flip(boxes["bank-01"]), boxes["bank-02"], elsewhere, before, "", "AAAA"):
        with pytest.raises(ShareInvalid):
            rehearsal.parties[ME].receive(ShareInbox(rid=inbox.rid, institution=ME, boxes={**boxes, "bank-01": box}))


def _dealt_falsely(rehearsal: Rehearsal, inbox: ShareInbox, pair: SharePair | bytes) -> ShareInbox:
    """What arrives when bank-01 itself seals something else for us."""
    liar, me = rehearsal.parties["bank-01"], rehearsal.parties[ME]
    ads = {name: parse(KeyAdvertisement, rehearsal.parties[name].advertisement.document) for name in (ME, "bank-01")}
    text = pair if isinstance(pair, bytes) else canonical(pair)
    box = keys.seal(bytes.fromhex(liar.cipher_private), me.cohort.rid, ads["bank-01"], ads[ME], text, entropy_of("x"))
    return ShareInbox(rid=inbox.rid, institution=ME, boxes={**inbox.boxes, "bank-01": box})


def test_a_dealer_cannot_pass_on_a_share_that_it_did_not_sign_for_us() -> None:
    rehearsal, inbox = at(Stage.MASKED)
    own = rehearsal.parties["bank-01"].own_share
    others = rehearsal.parties[ME].own_share
    assert own is not None
    assert others is not None
    crossed = SharePair(self_share=own.pair_share, pair_share=own.self_share)
    rightly = rehearsal.parties[ME].receive(inbox).held["bank-01"]
    one = [rightly.model_copy(update={"self_share": own.self_share}), rightly.model_copy(update={"pair_share": own.pair_share})]
    assert rehearsal.parties[ME].receive(_dealt_falsely(rehearsal, inbox, rightly)).held["bank-01"] == rightly
    for false in (own, others, crossed, *one, b"not json", b"{}", b""):
        with pytest.raises(ShareInvalid):
            rehearsal.parties[ME].receive(_dealt_falsely(rehearsal, inbox, false))


def test_an_inbox_from_too_few_from_strangers_or_for_another_bank_is_refused() -> None:
    rehearsal, inbox = at(Stage.MASKED)
    party = rehearsal.parties[ME]
    with pytest.raises(CohortTooSmall):
        party.receive(ShareInbox(rid=inbox.rid, institution=ME, boxes={"bank-01": inbox.boxes["bank-01"]}))
    for stranger in ("stranger", ME):
        with pytest.raises(ConsistencyBroken):
            party.receive(ShareInbox(rid=inbox.rid, institution=ME, boxes={**inbox.boxes, stranger: inbox.boxes["bank-01"]}))
    with pytest.raises(StageClosed):
        party.receive(rehearsal.collector.notice("bank-01"))
    with pytest.raises(CohortMismatch):
        party.receive(ShareInbox(rid="e" * 64, institution=ME, boxes=inbox.boxes))


def test_a_second_inbox_is_refused() -> None:
    rehearsal, inbox = at(Stage.MASKED)
    party = rehearsal.parties[ME].receive(inbox)
    fewer = {dealer: box for dealer, box in inbox.boxes.items() if dealer != "bank-03"}
    with pytest.raises(ConsistencyBroken):
        party.receive(ShareInbox(rid=inbox.rid, institution=ME, boxes=fewer))


# -------------------------------------------------------------------- masking
def test_masks_serve_one_vector_only() -> None:
    rehearsal, inbox = at(Stage.MASKED)
    party, _ = rehearsal.parties[ME].receive(inbox).mask(rehearsal.vectors[ME], identity=MINE)
    with pytest.raises(MaskReused):
        party.mask(rehearsal.vectors["bank-01"], identity=MINE)


@pytest.mark.parametrize("vector", [np.zeros(4, np.uint32), np.zeros(5, np.int64), np.zeros((5, 1), np.uint32)])
def test_a_vector_of_another_shape_is_not_masked(vector: np.ndarray) -> None:
    rehearsal, inbox = at(Stage.MASKED)
    with pytest.raises(Malformed):
        rehearsal.parties[ME].receive(inbox).mask(vector, identity=MINE)


def test_no_stage_can_be_skipped() -> None:
    rehearsal, _ = at(Stage.SHARES)
    party, rid = rehearsal.parties[ME], rehearsal.collector.cohort.rid
    with pytest.raises(StageClosed):
        party.receive(ShareInbox(rid=rid, institution=ME, boxes={}))
    with pytest.raises(StageClosed):
        party.mask(rehearsal.vectors[ME], identity=MINE)
    with pytest.raises(StageClosed):
        party.confirm(SurvivorList(rid=rid, inputs=[]), identity=MINE)
    with pytest.raises(UnmaskRefused):
        party.unmask(UnmaskRequest(rid=rid, self_of=[], pair_of=[], consistency=[]), identity=MINE, previous=[])
    with pytest.raises(StageClosed):
        _ = party.opened


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
    other = replace(second.parties[ME], plain_digest="f" * 64)
    with pytest.raises(UnmaskRefused):
        other.unmask(second.collector.notice(ME), identity=MINE, previous=[before])


def test_terms_that_make_no_sense_are_refused_when_they_are_read() -> None:
    for changes in (
        {"threshold": 2}, {"threshold": 5}, {"min_cohort": 2}, {"min_cohort": 5}, {"segments": []}, {"segments": small(4) * 2},
        {"members": [member(name) for name in NAMES[:2]]}, {"members": [member(name) for name in reversed(NAMES[:4])]},
        {"members": [member(name, weight=0.0) for name in NAMES[:4]]},
        {"members": [*(member(name) for name in NAMES[:3]), member("bank-03", base_digest="c" * 64)]},
        {"members": [*(member(name) for name in NAMES[:3]), member("bank-03", public_key=MINE.public.text)]},
    ):
        with pytest.raises(ValueError, match="members|threshold|min_cohort|segments"):
            terms_for(**changes)
