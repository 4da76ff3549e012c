"""What the portal takes from banks, when a stage ends, and how it knows a bank that lies."""

from __future__ import annotations

from typing import Any

import pytest

from clientagent.wire.errors import (
    CohortMismatch,
    ConsistencyBroken,
    Malformed,
    MaskKeyInvalid,
    RingExceeded,
    ShareInvalid,
    SignatureInvalid,
    StageClosed,
    UpdateConflict,
)
from clientagent.wire.masking import Cohort, Collector, Stage, open_sum, remaining_masks, sharing, threshold_for
from clientagent.wire.masking.opening import array_reader
from clientagent.wire.secure_messages import (
    BankDocument,
    ConsistencySignature,
    EncryptedShares,
    HeldShare,
    KeyAdvertisement,
    MaskedInput,
    SharePair,
    UnmaskAnswer,
)
from clientagent.wire.signing import PrivateKey, Signed, parse, sign_document
from tests.wire.cohorts import NAMES, Rehearsal, identity_of, rehearse, terms_for

MODELS: dict[Stage, type[BankDocument]] = {
    Stage.KEYS: KeyAdvertisement, Stage.SHARES: EncryptedShares, Stage.MASKED: MaskedInput,
    Stage.CONSISTENCY: ConsistencySignature, Stage.UNMASK: UnmaskAnswer,
}


def speaking(stage: Stage, **gone: Stage) -> tuple[Rehearsal, Signed]:
    """A cohort of four in a stage, and what bank-01 would say in it."""
    rehearsal = rehearse(gone={name.replace("_", "-"): when for name, when in gone.items()}).run(until=stage)
    return rehearsal, rehearsal.speak("bank-01")


def changed(signed: Signed, stage: Stage, key: PrivateKey | None = None, **changes: Any) -> Signed:
    document = parse(MODELS[stage], {**signed.document, **changes})
    return sign_document(document, key or identity_of(document.institution))


# -------------------------------------------------------------------- taking
@pytest.mark.parametrize("stage", MODELS)
def test_the_same_document_again_changes_nothing_even_late(stage: Stage) -> None:
    rehearsal, said = speaking(stage)
    once = rehearsal.collector.accept(said)
    assert once.accept(said) is once
    rehearsal.stage()
    assert rehearsal.collector.accept(said) is rehearsal.collector


@pytest.mark.parametrize("stage", MODELS)
def test_only_the_bank_itself_speaks_for_it(stage: Stage) -> None:
    rehearsal, said = speaking(stage)
    for forged in (
        changed(said, stage, identity_of("portal")), changed(said, stage, identity_of("bank-02")),
        Signed(document={**said.document, "institution": "bank-02"}, signature=said.signature),
    ):
        with pytest.raises(SignatureInvalid):
            rehearsal.collector.accept(forged)
    with pytest.raises(CohortMismatch):
        rehearsal.collector.accept(changed(said, stage, institution="stranger"))


@pytest.mark.parametrize("stage", MODELS)
def test_a_document_of_another_cohort_is_refused(stage: Stage) -> None:
    rehearsal, _ = speaking(stage)
    other = rehearse(terms_for(attempt=2)).run(until=stage).speak("bank-01")
    with pytest.raises(CohortMismatch):
        rehearsal.collector.accept(other)


@pytest.mark.parametrize("stage", MODELS)
def test_after_its_stage_a_bank_that_said_nothing_is_too_late(stage: Stage) -> None:
    rehearsal, said = speaking(stage, bank_01=stage)
    rehearsal.stage()
    assert rehearsal.collector.dropped == ({"bank-01": stage} if stage != Stage.UNMASK else {})
    with pytest.raises(StageClosed):
        rehearsal.collector.accept(said)


def test_a_second_different_document_for_one_stage_is_a_conflict() -> None:
    rehearsal, said = speaking(Stage.KEYS)
    with pytest.raises(UpdateConflict):
        rehearsal.collector.accept(said).accept(changed(said, Stage.KEYS, commitment="d" * 64))


def test_a_stage_cannot_be_answered_before_it_begins_nor_by_one_that_dropped_before() -> None:
    rehearsal, said = speaking(Stage.MASKED)
    with pytest.raises(StageClosed):
        Collector(rehearsal.terms).accept(said)
    dropped = rehearse(gone={"bank-01": Stage.SHARES}).run(until=Stage.MASKED)
    told = dropped.collector.spoken(Stage.SHARES)
    late = changed(said, Stage.MASKED, dealers=told, keys_digest=dropped.collector.keys_digest)
    with pytest.raises(StageClosed):
        dropped.collector.accept(late)


@pytest.mark.parametrize(("stage", "changes"), [
    (Stage.SHARES, {"keys_digest": "d" * 64}), (Stage.SHARES, {"boxes": {}}), (Stage.MASKED, {"keys_digest": "d" * 64}),
    (Stage.MASKED, {"dealers": NAMES[:3]}), (Stage.MASKED, {"words": 4}), (Stage.CONSISTENCY, {"inputs": {}}),
    (Stage.CONSISTENCY, {"dealers": NAMES[:3]}), (Stage.UNMASK, {"self_shares": {}}),
])
def test_a_bank_that_was_told_something_else_is_noticed(stage: Stage, changes: dict[str, Any]) -> None:
    rehearsal, said = speaking(stage)
    with pytest.raises(ConsistencyBroken):
        rehearsal.collector.accept(changed(said, stage, **changes))


def test_a_key_that_another_bank_advertised_is_refused() -> None:
    rehearsal, said = speaking(Stage.KEYS)
    collector = rehearsal.collector.accept(said)
    copy = changed(rehearsal.speak("bank-02"), Stage.KEYS, cipher_key=said.document["cipher_key"])
    with pytest.raises(MaskKeyInvalid):
        collector.accept(copy)


@pytest.mark.parametrize("document", [{}, {"type": "receipt"}, {"type": ["cohort_key"]}, {"type": "cohort_keys"}])
def test_other_documents_are_refused(document: dict[str, Any]) -> None:
    rehearsal, said = speaking(Stage.KEYS)
    with pytest.raises(Malformed):
        rehearsal.collector.accept(Signed(document=document, signature=said.signature))


# -------------------------------------------------------------------- stages
def test_the_portal_knows_whom_it_waits_for_and_when_waiting_is_over() -> None:
    rehearsal = rehearse()
    assert rehearsal.collector.awaited == NAMES[:4]
    for count, bank in enumerate(NAMES[:4], start=1):
        assert rehearsal.collector.may_close == (count > 3)
        assert not rehearsal.collector.is_complete
        rehearsal.collector = rehearsal.collector.accept(rehearsal.speak(bank))
    assert rehearsal.collector.awaited == []
    assert rehearsal.collector.is_complete


def test_unmasking_is_over_as_soon_as_the_threshold_has_answered() -> None:
    rehearsal = rehearse().run(until=Stage.UNMASK)
    for bank in NAMES[1:4]:
        assert not rehearsal.collector.is_complete
        rehearsal.collector = rehearsal.collector.accept(rehearsal.speak(bank))
    assert rehearsal.collector.awaited == [NAMES[0]]
    assert rehearsal.collector.is_complete


def test_a_stage_that_too_few_can_still_end_is_hopeless() -> None:
    rehearsal = rehearse(gone={"bank-00": Stage.KEYS, "bank-01": Stage.SHARES}).run(until=Stage.SHARES)
    assert not rehearsal.collector.is_hopeless
    small = rehearse(terms_for(4, 3), {"bank-00": Stage.KEYS}).run(until=Stage.SHARES).collector
    thinner = Collector(small.terms, small.stage, {Stage.KEYS: dict(list(small.messages[Stage.KEYS].items())[:2])})
    assert thinner.is_hopeless


def test_a_cohort_that_is_done_asks_and_closes_nothing_more() -> None:
    collector = rehearse().run().collector
    assert collector.awaited == []
    assert not collector.may_close
    with pytest.raises(StageClosed):
        collector.notice("bank-00")
    with pytest.raises(StageClosed):
        collector.close()


def test_nothing_is_unmasked_before_the_end() -> None:
    with pytest.raises(StageClosed):
        remaining_masks(rehearse().run(until=Stage.UNMASK).collector)


@pytest.mark.parametrize(("share", "members", "threshold"), [
    (0.67, 3, 3), (0.67, 5, 4), (0.67, 10, 7), (0.6, 10, 6), (0.51, 4, 3), (0.55, 20, 11), (0.7, 10, 7), (1.0, 7, 7),
    (0.501, 3, 2), (0.501, 4, 3),
])
def test_the_threshold_is_the_plans_share_rounded_up(share: float, members: int, threshold: int) -> None:
    assert threshold_for(share, members) == threshold


@pytest.mark.parametrize(("members", "threshold", "tolerated"), [(10, 7, 3), (10, 6, 1), (3, 3, 2), (4, 3, 1), (5, 3, 0)])
def test_two_groups_of_the_threshold_meet_in_more_banks_than_may_collude(members: int, threshold: int, tolerated: int) -> None:
    assert Cohort(terms_for(members, threshold)).tolerated == tolerated


# --------------------------------------------------------------- banks that lie
def _answer(rehearsal: Rehearsal, bank: str, **shares: dict[str, HeldShare]) -> Signed:
    said = rehearsal.speak(bank)
    document = parse(UnmaskAnswer, said.document)
    return sign_document(document.model_copy(update=shares), identity_of(bank))


def test_a_holder_that_gives_another_share_is_known_at_once() -> None:
    rehearsal = rehearse(gone={"bank-03": Stage.MASKED}).run(until=Stage.UNMASK)
    honest = parse(UnmaskAnswer, rehearsal.speak("bank-01").document)
    given = honest.self_shares["bank-02"]
    wrong = [
        given.model_copy(update={"value": "0" * 32}),  # invented
        honest.self_shares["bank-00"],  # of another secret
        parse(UnmaskAnswer, rehearsal.speak("bank-00").document).self_shares["bank-02"],  # of another holder
        rehearsal.parties["bank-01"].held["bank-02"].pair_share,  # of the other kind
    ]
    for share in wrong:
        with pytest.raises(ShareInvalid, match="bank-02"):
            rehearsal.collector.accept(_answer(rehearsal, "bank-01", self_shares={**honest.self_shares, "bank-02": share}))
    kept_back = rehearsal.parties["bank-01"].held["bank-03"].self_share
    with pytest.raises(ShareInvalid, match="bank-03"):
        rehearsal.collector.accept(_answer(rehearsal, "bank-01", pair_shares={"bank-03": kept_back}))


@pytest.mark.parametrize("kind", ["self", "pair"])
def test_a_dealer_whose_shares_rebuild_something_else_is_named_and_no_sum_is_made(kind: sharing.Kind) -> None:
    """bank-03 deals shares of a secret that it did not commit to, all properly signed."""
    rehearsal = rehearse(gone={"bank-03": Stage.MASKED if kind == "pair" else Stage.DONE}).run(until=Stage.CONSISTENCY)
    cohort = rehearsal.collector.cohort
    false = sharing.deal(bytes(16), cohort, dealer="bank-03", holders=NAMES[:4], kind=kind, identity=identity_of("bank-03"))
    for bank, party in rehearsal.parties.items():
        if party.held is not None:
            pair = party.held["bank-03"].model_dump() | {f"{kind}_share": false[bank].model_dump()}
            party.held["bank-03"] = SharePair.model_validate(pair)
    rehearsal.run()
    with pytest.raises(ShareInvalid, match="bank-03"):
        remaining_masks(rehearsal.collector)


def test_a_vector_that_the_terms_do_not_allow_spoils_the_sum_but_is_never_published() -> None:
    rehearsal = rehearse().run()
    rehearsal.masked["bank-02"] = rehearsal.masked["bank-02"] + rehearsal.masked["bank-02"].dtype.type(2**31)
    readers = [array_reader(rehearsal.masked[bank]) for bank in rehearsal.collector.survivors]
    with pytest.raises(RingExceeded):
        list(open_sum(rehearsal.collector.cohort.ring, readers, remaining_masks(rehearsal.collector)))
