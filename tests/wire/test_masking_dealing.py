"""What a bank refuses when it joins, deals and masks, while the portal or another bank lies about keys and shares."""

from __future__ import annotations

import base64
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
    KeyAdvertisement,
    KeyList,
    ShareInbox,
    SharePair,
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
    entropy_of,
    identity_of,
    member,
    rehearse,
    replaced,
    resigned,
    small,
    terms_for,
)


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
