"""What the portal holds says nothing about one bank beyond the sum: shown by construction, and by looking at the bytes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from Crypto.Protocol.SecretSharing import Shamir
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.masking import Stage, Words, evaluation_segments, keys, reals, remaining_masks, sharing
from clientagent.wire.masking.streams import Stream, derive, scratch
from clientagent.wire.secure_messages import Segment, UnmaskAnswer
from clientagent.wire.signing import parse
from tests.wire.cohorts import NAMES, Rehearsal, identity_of, random_vectors, rehearse, small, terms_for


def keystream(key: bytes, words: int) -> Words:
    mask = np.zeros(words, np.uint32)
    Stream(key, +1).apply(mask, scratch())
    return mask


def pair_keys(rehearsal: Rehearsal) -> dict[tuple[str, str], bytes]:
    """What only the banks know: the key of the mask between each two survivors, lower name first."""
    rid, ads = rehearsal.collector.cohort.rid, rehearsal.collector.advertisements
    known = {}
    for low, high in itertools.combinations(rehearsal.collector.survivors, 2):
        private = keys.mask_private(bytes.fromhex(rehearsal.parties[low].mask_seed), rid, low)
        known[low, high] = keys.pair_mask_key(private, rid, ads[low], ads[high])
    return known


def without_what_the_portal_can_open(rehearsal: Rehearsal) -> dict[str, Words]:
    """Each survivor's masked vector less every mask that the portal rebuilt: the most that it holds of one bank."""
    rid, ads = rehearsal.collector.cohort.rid, rehearsal.collector.advertisements
    residual = {}
    for bank in rehearsal.collector.survivors:
        party, vector = rehearsal.parties[bank], rehearsal.masked[bank].copy()
        Stream(keys.self_mask_key(bytes.fromhex(party.self_seed), rid, bank), -1).apply(vector, scratch())
        private = keys.mask_private(bytes.fromhex(party.mask_seed), rid, bank)
        for left in set(rehearsal.collector.spoken(Stage.SHARES)) - set(rehearsal.collector.survivors):
            key = keys.pair_mask_key(private, rid, ads[bank], ads[left])
            Stream(key, -1 if bank < left else +1).apply(vector, scratch())
        residual[bank] = vector
    return residual


def layouts(parties: int) -> dict[str, list[Segment]]:
    """What a cohort may sum: updates, updates with noise beside counts of the base, counts alone."""
    counts = evaluation_segments(10, most_rows={"validation": 100, "holdout": 3000}, parties=parties)
    noised = reals("update", 5, bound=0.5, parties=parties, noise_std=1.5)
    return {"updates": small(parties), "noised and counted": [noised, *counts], "counts": counts}


@given(st.integers(3, 5), st.booleans(), st.sampled_from(sorted(layouts(3))), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_every_set_of_inputs_with_the_same_sum_explains_what_the_portal_holds(
    parties: int, drops: bool, layout: str, seed: int
) -> None:
    """For other inputs x' with the same sum there are pair masks p', of the same distribution, with the very same transcript."""
    terms = terms_for(parties + 1, parties, min_cohort=3, segments=layouts(parties + 1)[layout])
    gone = {NAMES[parties]: Stage.MASKED} if drops else {}
    rehearsal = Rehearsal(terms, random_vectors(terms, seed)[1], gone).run()
    survivors, ring = rehearsal.collector.survivors, rehearsal.collector.cohort.ring
    others = random_vectors(terms, seed + 1)[1]
    total = sum(rehearsal.vectors[bank] for bank in survivors)
    others[survivors[-1]] = total - sum(others[bank] for bank in survivors[:-1])
    assert any(not np.array_equal(others[bank], rehearsal.vectors[bank]) for bank in survivors)
    masks = {pair: keystream(key, ring.words) for pair, key in pair_keys(rehearsal).items()}
    shift = np.zeros(ring.words, np.uint32)
    for low, high in itertools.pairwise(survivors):  # along a path, each mask takes up what its banks' inputs moved by
        shift = shift + others[low] - rehearsal.vectors[low]
        masks[low, high] = masks[low, high] - shift
    held = without_what_the_portal_can_open(rehearsal)
    for bank in survivors:
        explained = others[bank].copy()
        for (low, high), mask in masks.items():
            explained += mask if bank == low else 0
            explained -= mask if bank == high else 0
        assert np.array_equal(explained, held[bank])


def test_the_portal_rebuilds_no_mask_between_two_survivors() -> None:
    rehearsal = rehearse(terms_for(5, 3), {"bank-04": Stage.MASKED}).run()
    opened = {mask.key for mask in remaining_masks(rehearsal.collector)}
    assert len(opened) == 4 + 4
    assert not opened & set(pair_keys(rehearsal).values())


def _answers(rehearsal: Rehearsal) -> Iterator[UnmaskAnswer]:
    for signed in rehearsal.collector.messages[Stage.UNMASK].values():
        yield parse(UnmaskAnswer, signed.document)


def test_over_all_answers_the_portal_gets_shares_of_one_secret_of_each_bank() -> None:
    rehearsal = rehearse(terms_for(5, 3), {"bank-04": Stage.MASKED, "bank-02": Stage.UNMASK}).run()
    self_of = {bank for answer in _answers(rehearsal) for bank in answer.self_shares}
    pair_of = {bank for answer in _answers(rehearsal) for bank in answer.pair_shares}
    assert self_of == set(NAMES[:4])
    assert pair_of == {"bank-04"}


def test_no_secret_and_no_share_of_another_kind_stands_in_what_the_portal_holds() -> None:
    rehearsal = rehearse(terms_for(5, 3), {"bank-04": Stage.MASKED}).run()
    held = rehearsal.collector.to_json().decode()
    for bank, party in rehearsal.parties.items():
        assert party.self_seed not in held
        assert party.mask_seed not in held
        assert party.cipher_private not in held
        for dealer, pair in (party.held or {}).items():
            survived = dealer in rehearsal.collector.survivors
            kept_back = pair.pair_share if survived or bank == "bank-04" else pair.self_share
            assert kept_back.value not in held


def test_fewer_shares_than_the_threshold_fit_every_secret() -> None:
    """With t - 1 points, each value at zero has its polynomial: the shares of one secret may be those of any other."""
    cohort = rehearse(terms_for(5, 3)).collector.cohort
    identity = identity_of(NAMES[0])
    dealt = sharing.deal(bytes(range(16)), cohort, dealer=NAMES[0], holders=NAMES[:5], kind="self", identity=identity)
    two = [(cohort.number_of(bank), bytes.fromhex(dealt[bank].value)) for bank in NAMES[:2]]
    for guess in (bytes(16), bytes([255]) * 16, bytes(range(16))):
        # the field is GF(2^128): interpolate the third share from the guess at 0 and the two, then rebuild
        third = _third_share(guess, two, 3)
        assert Shamir.combine([*two, (3, third)]) == guess
    assert Shamir.combine([(cohort.number_of(b), bytes.fromhex(dealt[b].value)) for b in NAMES[2:5]]) == bytes(range(16))


def _third_share(secret: bytes, two: list[tuple[int, bytes]], place: int) -> bytes:
    """The share at ``place`` on the polynomial through the secret and two shares, solved bit by bit: combine is affine."""
    zero = Shamir.combine([*two, (place, bytes(16))])
    columns = [_xor(Shamir.combine([*two, (place, (1 << bit).to_bytes(16))]), zero) for bit in range(128)]
    rows = [(int.from_bytes(column), 1 << bit) for bit, column in enumerate(columns)]
    wanted, solution = int.from_bytes(_xor(secret, zero)), 0
    for bit in reversed(range(128)):
        pivot = next((row for row in rows if row[0] >> bit == 1), None)
        if pivot is None:
            continue
        rows = [(row[0] ^ pivot[0], row[1] ^ pivot[1]) if row is not pivot and row[0] >> bit & 1 else row for row in rows]
        rows.remove(pivot)
        if wanted >> bit & 1:
            wanted, solution = wanted ^ pivot[0], solution ^ pivot[1]
    assert wanted == 0
    return solution.to_bytes(16)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


# ------------------------------------------------------------------- statistics
def _chi_square(words: Words) -> float:
    """Of the bytes against the uniform distribution: 255 degrees of freedom, 180 to 340 but once in a thousand times."""
    seen = np.bincount(words.view(np.uint8), minlength=256)
    expected = words.size * 4 / 256
    return float(((seen - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("content", ["lowest", "zero", "highest"])
def test_what_the_portal_holds_of_one_bank_looks_like_noise_whatever_it_hides(content: str) -> None:
    """Even after the portal has opened all that it may. Seeds are fixed, so this passes always or never."""
    terms = terms_for(3, 2, segments=[reals("update", 60_000, bound=1.0, parties=3)])
    place = rehearse(terms).collector.cohort.ring.places[0]
    value = {"lowest": 0, "zero": place.offset, "highest": 2 * place.maximum}[content]
    vectors = {bank: np.full(60_000, value, np.uint32) for bank in NAMES[:3]}
    rehearsal = Rehearsal(terms, vectors, {"bank-02": Stage.UNMASK}, seed=content).run()
    for held in (rehearsal.masked, without_what_the_portal_can_open(rehearsal)):
        for words in held.values():
            assert 170 < _chi_square(words) < 350


def test_masks_of_two_cohorts_or_purposes_have_nothing_in_common() -> None:
    secret = bytes(16)
    labels = [("self mask", "x"), ("self mask", "y"), ("commitment", "x"),
              ("mask key", "x"), ("box", "x", "y"), ("box", "y", "x")]
    derived = {derive(secret, rid, *label) for rid in ("a" * 64, "b" * 64) for label in labels}
    assert len(derived) == 12


def test_a_stream_read_in_pieces_is_the_stream_read_at_once() -> None:
    whole = keystream(bytes(32), 300_000)
    stream, pieces = Stream(bytes(32), -1), whole.copy()
    for start, stop in itertools.pairwise((0, 1, 131_072, 200_001, 300_000)):
        stream.apply(pieces[start:stop], scratch())
    assert not pieces.any()


def test_the_stream_is_chacha20() -> None:
    """RFC 8439, appendix A.1, test vector 1: key, nonce and counter zero."""
    assert keystream(bytes(32), 4).tobytes().hex() == "76b8e0ada0f13d90405d6ae55386bd28"
