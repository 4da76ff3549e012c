"""The bank's side of a cohort: what it holds, what it says at each stage, and what it refuses.

A ``Party`` never changes: each step returns the next one, whose newest document is what to send. Write ``to_json()`` to disk
before sending; after a crash the same call with the same input gives the same party and the same bytes, and another input for the
same stage is refused. Stages as in Bonawitz et al. 2017, figure 4 (with the underlined parts, against a portal that lies).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from pydantic import TypeAdapter, ValidationError

from clientagent.wire.canonical import canonical, parse_json
from clientagent.wire.errors import (
    CohortMismatch,
    ConsistencyBroken,
    Malformed,
    MaskReused,
    ShareInvalid,
    StageClosed,
)
from clientagent.wire.masking import hearing, keys, sharing
from clientagent.wire.masking.cohort import Cohort, keys_digest
from clientagent.wire.masking.keys import Entropy
from clientagent.wire.masking.releases import require_single_opening
from clientagent.wire.masking.ring import WORD, Words
from clientagent.wire.masking.streams import Stream, scratch
from clientagent.wire.masking.tallies import count_segments
from clientagent.wire.secure_messages import (
    CohortTerms,
    ConsistencySignature,
    EncryptedShares,
    HeldShare,
    Hex16,
    Hex32,
    KeyAdvertisement,
    KeyList,
    MaskedInput,
    Opened,
    ShareInbox,
    SharePair,
    SurvivorList,
    UnmaskAnswer,
    UnmaskRequest,
)
from clientagent.wire.signing import PrivateKey, Signed, parse, sign_document


@dataclass(frozen=True)
class Party:
    """One bank in one cohort, with its secrets. Keep it as the identity key is kept: readable for its owner only."""

    terms: CohortTerms
    institution: str
    self_seed: Hex16 = field(repr=False)
    mask_seed: Hex16 = field(repr=False)
    cipher_private: Hex32 = field(repr=False)
    advertisement: Signed
    key_list: KeyList | None = None
    own_share: SharePair | None = field(default=None, repr=False)
    shares: Signed | None = None
    held: dict[str, SharePair] | None = field(default=None, repr=False)
    inbox_digest: str = ""
    masked: Signed | None = None
    plain_digest: str = ""
    update_digest: str = ""
    counts_digest: str = ""
    consistency: Signed | None = None
    answer: Signed | None = None

    # ------------------------------------------------------------------ on disk
    def to_json(self) -> bytes:
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Party:
        """Raises ``Malformed`` for a file that no party wrote."""
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError as error:
            raise Malformed(expected="a party as it was written", got=f"{error.error_count()} faults") from None

    @cached_property
    def cohort(self) -> Cohort:
        return Cohort(self.terms)

    # ------------------------------------------------------------- stage 0: keys
    @classmethod
    def join(
        cls, offered: CohortTerms, *, own: CohortTerms, institution: str, identity: PrivateKey,
        entropy: Entropy = os.urandom,
    ) -> Party:
        """Make fresh keys for a cohort whose terms are those that this bank computed itself (``own``).

        Raises ``CohortMismatch`` naming what differs: an identity that is not pinned, another base, other parameters.
        """
        hearing.require_same(offered, own)
        cohort = Cohort(offered)
        if cohort.key_of(institution).fingerprint != identity.fingerprint:
            raise CohortMismatch(expected=f"our own key for {institution}", got="another one")
        self_seed, mask_seed, cipher = entropy(keys.SEED_BYTES), entropy(keys.SEED_BYTES), entropy(32)
        advertisement = KeyAdvertisement(
            rid=cohort.rid, institution=institution, cipher_key=keys.public_of(cipher),
            mask_key=keys.public_of(keys.mask_private(mask_seed, cohort.rid, institution)),
            commitment=keys.commitment(self_seed, cohort.rid, institution),
        )
        return cls(
            terms=offered, institution=institution, self_seed=self_seed.hex(), mask_seed=mask_seed.hex(),
            cipher_private=cipher.hex(), advertisement=sign_document(advertisement, identity),
        )

    # ----------------------------------------------------------- stage 1: shares
    def share(self, key_list: KeyList, *, identity: PrivateKey, entropy: Entropy = os.urandom) -> Party:
        """Deal shares of both seeds to every bank whose key is signed by its pinned identity.

        Raises ``SignatureInvalid``, ``CohortMismatch``, ``MaskKeyInvalid``, ``CohortTooSmall``, or ``ConsistencyBroken``
        for a second list or one that replaces our own key.
        """
        if self.key_list is not None:
            _require_repeated(self.key_list == key_list, "list of keys")
            return self
        peers = hearing.keys_of_all(key_list, self.cohort, ours=self.advertisement)
        dealt = self._deal(list(peers), identity)
        boxes = {
            peer: keys.seal(
                bytes.fromhex(self.cipher_private), self.cohort.rid, peers[self.institution], peers[peer],
                canonical(dealt[peer]), entropy,
            )
            for peer in peers if peer != self.institution
        }
        shares = EncryptedShares(
            rid=self.cohort.rid, institution=self.institution, keys_digest=keys_digest(key_list.advertisements), boxes=boxes
        )
        return replace(self, key_list=key_list, own_share=dealt[self.institution], shares=sign_document(shares, identity))

    def _deal(self, holders: list[str], identity: PrivateKey) -> dict[str, SharePair]:
        def dealt(seed: str, kind: sharing.Kind) -> dict[str, HeldShare]:
            return sharing.deal(
                bytes.fromhex(seed), self.cohort, dealer=self.institution, holders=holders, kind=kind, identity=identity
            )

        own, pair = dealt(self.self_seed, "self"), dealt(self.mask_seed, "pair")
        return {holder: SharePair(self_share=own[holder], pair_share=pair[holder]) for holder in holders}

    # ----------------------------------------------------------- stage 2: masked
    def receive(self, inbox: ShareInbox) -> Party:
        """Open and check what the others dealt to this bank. Raises ``ShareInvalid``, ``CohortTooSmall`` and the like."""
        if self.held is not None:
            _require_repeated(self.inbox_digest == _digest(inbox), "inbox of shares")
            return self
        self.cohort.require_own(inbox)
        peers, own_share = self._peers, self.own_share
        if own_share is None or self.institution != inbox.institution:
            raise StageClosed(expected=f"shares for {self.institution}, after dealing", got=f"some for {inbox.institution}")
        if strangers := set(inbox.boxes) - set(peers) | set(inbox.boxes) & {self.institution}:
            raise ConsistencyBroken(expected="dealers of the key list", got=", ".join(sorted(strangers)))
        held = {dealer: self._unbox(dealer, box) for dealer, box in inbox.boxes.items()}
        held = dict(sorted({**held, self.institution: own_share}.items()))
        self.cohort.require_enough(held)
        return replace(self, held=held, inbox_digest=_digest(inbox))

    def _unbox(self, dealer: str, box: str) -> SharePair:
        peers = self._peers
        text = keys.unseal(bytes.fromhex(self.cipher_private), self.cohort.rid, peers[dealer], peers[self.institution], box)
        try:
            pair = parse(SharePair, parse_json(text))
        except Malformed as error:
            raise ShareInvalid(expected=f"two shares from {dealer}", got="something else") from error
        sharing.check_share(pair.self_share, self.cohort, dealer=dealer, holder=self.institution, kind="self")
        sharing.check_share(pair.pair_share, self.cohort, dealer=dealer, holder=self.institution, kind="pair")
        return pair

    def mask(self, vector: Words, *, identity: PrivateKey) -> tuple[Party, Words]:
        """Add all masks to this bank's encoded vector (words,), modulo 2**32; the vector itself stays as it is.

        Masks serve once: another vector raises ``MaskReused``, because the difference of two would stand there in clear.
        """
        dealers = list(self._held)
        if vector.shape != (self.cohort.ring.words,) or vector.dtype != WORD:
            raise Malformed(expected=f"{self.cohort.ring.words} words", got=f"{vector.shape} {vector.dtype}")
        vector = np.ascontiguousarray(vector)
        plain_digest = _sha256(vector)
        if self.masked is not None and plain_digest != self.plain_digest:
            raise MaskReused(expected="the vector that was masked before", got="another one")
        masked, block = vector.copy(), scratch()
        for stream in self._streams(dealers):
            stream.apply(masked, block)
        if self.masked is not None:
            return self, masked
        document = MaskedInput(
            rid=self.cohort.rid, institution=self.institution, keys_digest=self._keys_digest, dealers=dealers,
            words=len(masked), digest=_sha256(masked),
        )
        update, counts = self._parts(vector)
        return replace(
            self, masked=sign_document(document, identity), plain_digest=plain_digest,
            update_digest=_sha256(update) if len(update) else "", counts_digest=_sha256(counts) if len(counts) else "",
        ), masked

    def _parts(self, vector: Words) -> tuple[Words, Words]:
        """The words before the counts of the base, and those of the counts."""
        counts = {segment.name for segment in count_segments(self.terms.segments)}
        start = next((place.start for place in self.cohort.ring.places if place.segment.name in counts), len(vector))
        return vector[:start], vector[start:]

    def _streams(self, dealers: Iterable[str]) -> Iterator[Stream]:
        """y_u = x_u + PRG(b_u) + sum over v > u of PRG(s_uv) - sum over v < u of PRG(s_uv)."""
        rid, me, peers = self.cohort.rid, self.institution, self._peers
        yield Stream(keys.self_mask_key(bytes.fromhex(self.self_seed), rid, me), +1)
        private = keys.mask_private(bytes.fromhex(self.mask_seed), rid, me)
        for peer in dealers:
            if peer != me:
                yield Stream(keys.pair_mask_key(private, rid, peers[me], peers[peer]), +1 if me < peer else -1)

    # ----------------------------------------------------- stage 3: consistency
    def confirm(self, survivors: SurvivorList, *, identity: PrivateKey) -> Party:
        """Sign whose vectors will be summed, once in a cohort.

        Raises ``ConsistencyBroken`` for a bank that dealt no shares, one that was told other keys or dealers, or a second
        list; ``CohortTooSmall`` when too few are left to hide among; ``UnmaskRefused`` when our vector is not among them.
        """
        told = hearing.survivors_told(survivors, self.cohort, ours=self._masked)
        if self.consistency is not None:
            _require_repeated(self._told == told, "list of survivors")
            return self
        return replace(self, consistency=sign_document(told, identity))

    # ---------------------------------------------------------- stage 4: unmask
    def unmask(
        self, request: UnmaskRequest, *, identity: PrivateKey, previous: Collection[Opened], may_reopen: bool = False
    ) -> Party:
        """Answer with the self share of each survivor or the pair share of each that dropped, never both.

        ``previous`` holds every ``opened`` of this bank; ``may_reopen`` says that fresh noise was charged, or that the
        operator consents, where this base version was opened before. Raises ``UnmaskRefused`` or ``ConsistencyBroken``.
        """
        hearing.check_request(request, self.cohort, self._told)
        require_single_opening(previous, self.opened, may_reopen=may_reopen)
        if self.answer is not None:
            return self
        held = self._held
        answer = UnmaskAnswer(
            rid=self.cohort.rid, institution=self.institution,
            self_shares={bank: held[bank].self_share for bank in sorted(request.self_of)},
            pair_shares={bank: held[bank].pair_share for bank in sorted(request.pair_of)},
        )
        return replace(self, answer=sign_document(answer, identity))

    @property
    def opened(self) -> Opened:
        """What to remember, on disk and before the answer leaves, of the sum that this answer opens."""
        told = self._told
        if told is None:
            raise StageClosed(expected="survivors that we signed", got="none yet")
        base = self.cohort.members[self.institution]
        return Opened(
            rid=self.cohort.rid, purpose=self.terms.purpose, run=self.terms.run, base_number=base.base_number,
            base_digest=base.base_digest, survivors=list(told.inputs), plain_digest=self.update_digest or None,
            counts_digest=self.counts_digest or None,
        )

    # ------------------------------------------------------------- what we know
    @property
    def said(self) -> list[Signed]:
        """All that this bank signed, in order. No secret among it: the receipt that stays when the party is deleted."""
        spoken = (self.advertisement, self.shares, self.masked, self.consistency, self.answer)
        return [one for one in spoken if one is not None]

    @cached_property
    def _peers(self) -> dict[str, KeyAdvertisement]:
        if self.key_list is None:
            raise StageClosed(expected="the cohort's keys", got="none yet")
        known = [parse(KeyAdvertisement, signed.document) for signed in self.key_list.advertisements]
        return {one.institution: one for one in known}

    @cached_property
    def _keys_digest(self) -> str:
        return keys_digest(self.key_list.advertisements) if self.key_list else ""

    @property
    def _held(self) -> dict[str, SharePair]:
        if self.held is None:
            raise StageClosed(expected="shares from the other banks", got="none yet")
        return self.held

    @property
    def _masked(self) -> MaskedInput:
        if self.masked is None:
            raise StageClosed(expected="a masked vector of ours", got="none yet")
        return parse(MaskedInput, self.masked.document)

    @property
    def _told(self) -> ConsistencySignature | None:
        return parse(ConsistencySignature, self.consistency.document) if self.consistency else None


_ADAPTER = TypeAdapter(Party)


def _require_repeated(same: bool, what: str) -> None:
    if not same:
        raise ConsistencyBroken(expected=f"one {what} for each cohort", got="a second, different one")


def _digest(inbox: ShareInbox) -> str:
    return hashlib.sha256(canonical(inbox)).hexdigest()


def _sha256(words: Words) -> str:
    return hashlib.sha256(words.data.cast("B")).hexdigest()
