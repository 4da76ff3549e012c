"""The opened sum is the sum of the survivors' integers, bit for bit, whoever drops when; and a crash changes no byte."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clientagent.wire.errors import CohortTooSmall, Malformed, Truncated
from clientagent.wire.masking import Collector, Party, Stage, counts, file_reader, open_sum, quantise, reals, remaining_masks
from tests.wire.cohorts import NAMES, Rehearsal, identity_of, member, plain_sum, random_vectors, rehearse, terms_for

SPEAKING = [Stage.KEYS, Stage.SHARES, Stage.MASKED, Stage.CONSISTENCY, Stage.UNMASK]


@st.composite
def cohorts(draw: st.DrawFn) -> tuple[int, int, dict[str, Stage]]:
    """(banks, threshold, who falls silent when)."""
    parties = draw(st.integers(3, 6))
    threshold = draw(st.integers(parties // 2 + 1, parties))
    gone = {bank: draw(st.sampled_from([*SPEAKING, *[None] * 6])) for bank in NAMES[:parties]}
    return parties, threshold, {bank: stage for bank, stage in gone.items() if stage}


def _enough(parties: int, threshold: int, gone: dict[str, Stage]) -> bool:
    """Whether each stage ends with as many as it needs."""
    for stage in SPEAKING:
        left = parties - sum(SPEAKING.index(when) <= SPEAKING.index(stage) for when in gone.values())
        if left < (threshold if stage in (Stage.CONSISTENCY, Stage.UNMASK) else max(threshold, 3)):
            return False
    return True


@given(cohorts(), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_sum_is_exact_or_the_cohort_is_too_small(cohort: tuple[int, int, dict[str, Stage]], seed: int) -> None:
    parties, threshold, gone = cohort
    segments = [
        reals("update", 5, bound=3.0, parties=parties), reals("coarse", 3, bound=1.0, parties=parties, bits=8),
        reals("wide", 2, bound=1e6, parties=parties, bits=50), counts("rows", 2, most=10**9),
    ]
    terms = terms_for(parties, threshold, segments=segments)
    plain, vectors = random_vectors(terms, seed)
    rehearsal = Rehearsal(terms, vectors, gone)
    if not _enough(parties, threshold, gone):
        with pytest.raises(CohortTooSmall):
            rehearsal.run()
        return
    rehearsal.run()
    left_before_masking = [bank for bank, stage in gone.items() if stage in SPEAKING[:3]]
    survivors = [bank for bank in NAMES[:parties] if bank not in left_before_masking]
    assert rehearsal.collector.survivors == survivors
    assert rehearsal.total() == plain_sum(plain, survivors)


@pytest.mark.parametrize("stage", SPEAKING)
def test_one_bank_may_drop_at_any_stage(stage: Stage) -> None:
    terms = terms_for(4, 3)
    plain, vectors = random_vectors(terms)
    rehearsal = Rehearsal(terms, vectors, {"bank-02": stage}).run()
    counted = [bank for bank in NAMES[:4] if bank != "bank-02" or stage in (Stage.CONSISTENCY, Stage.UNMASK)]
    assert rehearsal.total() == plain_sum(plain, counted)
    assert rehearsal.collector.dropped == ({"bank-02": stage} if stage != Stage.UNMASK else {})


@pytest.mark.parametrize("stage", SPEAKING)
def test_with_fewer_than_the_threshold_nothing_is_opened(stage: Stage) -> None:
    rehearsal = rehearse(terms_for(4, 3), {"bank-01": stage, "bank-02": stage})
    with pytest.raises(CohortTooSmall):
        rehearsal.run()
    assert rehearsal.collector.stage == stage


def test_min_cohort_binds_where_the_threshold_would_not() -> None:
    with pytest.raises(CohortTooSmall):
        rehearse(terms_for(5, 3, min_cohort=5), {"bank-00": Stage.MASKED}).run()


def test_weighted_updates_of_the_survivors_come_out_as_their_weighted_mean() -> None:
    weights = {"bank-00": 0.5, "bank-01": 0.3, "bank-02": 0.15, "bank-03": 0.05}
    segment = reals("update", 100, bound=16.0, parties=4)
    terms = terms_for(4, 3, weighting="samples", segments=[segment], members=[member(b, weight=w) for b, w in weights.items()])
    cohort = Collector(terms).cohort
    rng = np.random.default_rng(0)
    updates = {bank: rng.normal(size=100) for bank in weights}
    vectors = {
        bank: cohort.ring.encode({"update": quantise(updates[bank], segment, factor=cohort.factor_of(bank)).integers})
        for bank in weights
    }
    rehearsal = Rehearsal(terms, vectors, {"bank-02": Stage.MASKED}).run()
    survivors = ["bank-00", "bank-01", "bank-03"]
    mean = rehearsal.blocks()[0].values / cohort.divisor_of(survivors)
    expected = sum(weights[bank] * updates[bank] for bank in survivors) / sum(weights[bank] for bank in survivors)
    assert np.abs(mean - expected).max() < 2 / segment.scale


# ----------------------------------------------------------------------- crashes
def test_after_a_crash_every_step_repeats_the_same_bytes() -> None:
    rehearsal = rehearse().run(until=Stage.SHARES)
    identity = identity_of("bank-00")
    vector = rehearsal.vectors["bank-00"]
    while rehearsal.collector.stage != Stage.DONE:
        notice = rehearsal.collector.notice("bank-00")
        rehearsal.stage()
        party = rehearsal.parties["bank-00"]  # as it was read back from its bytes
        match notice.type:
            case "cohort_keys":
                assert party.share(notice, identity=identity) == party
            case "cohort_inbox":
                assert party.receive(notice) == party
                again, masked = party.mask(vector, identity=identity)
                assert again == party
                assert np.array_equal(masked, rehearsal.masked["bank-00"])
            case "cohort_survivors":
                assert party.confirm(notice, identity=identity) == party
            case "unmask_request":
                assert party.unmask(notice, identity=identity, previous=[party.opened]) == party
    assert len(party.said) == 5


def test_the_plain_vector_is_not_touched_by_masking() -> None:
    rehearsal = rehearse()
    before = rehearsal.vectors["bank-00"].copy()
    rehearsal.run()
    assert np.array_equal(rehearsal.vectors["bank-00"], before)


@pytest.mark.parametrize("kind", [Party, Collector])
def test_a_torn_file_is_refused(kind: type[Party] | type[Collector]) -> None:
    rehearsal = rehearse().run(until=Stage.MASKED)
    whole = (rehearsal.parties["bank-00"] if kind is Party else rehearsal.collector).to_json()
    for torn in (b"", whole[: len(whole) // 2], b"{}", b"null"):
        with pytest.raises(Malformed):
            kind.from_json(torn)


def test_what_a_party_shows_of_itself_holds_none_of_its_secrets() -> None:
    party = rehearse().run(until=Stage.UNMASK).parties["bank-00"]
    for secret in (party.self_seed, party.mask_seed, party.cipher_private):
        assert secret.encode() in party.to_json()
        assert secret not in repr(party)
        assert secret not in "".join(one.model_dump_json() for one in party.said)


# ------------------------------------------------------------------ from files
def test_the_portal_opens_the_sum_from_files_behind_a_header(tmp_path: Path) -> None:
    terms = terms_for(4, 3, segments=[reals("update", 300_000, bound=1.0, parties=4)])
    plain, vectors = random_vectors(terms)
    rehearsal = Rehearsal(terms, vectors, {"bank-03": Stage.MASKED}).run()
    descriptors = []
    for bank in rehearsal.collector.survivors:
        path = tmp_path / bank
        path.write_bytes(b"header.." + rehearsal.masked[bank].tobytes())
        descriptors.append(os.open(path, os.O_RDONLY))
    readers = [file_reader(descriptor, 8) for descriptor in descriptors]
    blocks = open_sum(rehearsal.collector.cohort.ring, readers, remaining_masks(rehearsal.collector))
    opened = np.concatenate([block.integers for block in blocks])
    assert opened.tolist() == plain_sum(plain, rehearsal.collector.survivors)["update"]
    with pytest.raises(Truncated):
        file_reader(descriptors[0], 12)(0, 300_000)
    for descriptor in descriptors:
        os.close(descriptor)


def test_ten_banks_with_a_million_parameters_and_two_dropped_are_summed_within_two_seconds() -> None:
    terms = terms_for(10, 6, segments=[reals("update", 1_000_000, bound=16.0, parties=10)])
    rng = np.random.default_rng(0)
    ring = Collector(terms).cohort.ring
    plain = {bank: rng.integers(-1000, 1000, 1_000_000) for bank in NAMES[:10]}
    vectors = {bank: ring.encode({"update": integers}) for bank, integers in plain.items()}
    gone = dict.fromkeys(["bank-04", "bank-07"], Stage.MASKED)
    rehearsal = Rehearsal(terms, vectors, gone).run()
    begun = time.process_time()
    blocks = rehearsal.blocks()
    assert time.process_time() - begun < 2
    opened = np.concatenate([block.integers for block in blocks])
    assert np.array_equal(opened, sum(plain[bank] for bank in rehearsal.collector.survivors))
