"""What banks and portal say to each other while a cohort sums masked vectors (Bonawitz et al. 2017).

``rid`` is the digest of the cohort's terms. A bank's document names the cohort, its sender and, by its type, the stage, and the
bank's Ed25519 identity key signs it, so that it serves nowhere else. The portal signs what it asks, as evidence, not for
the protocol's safety: a bank believes only what other banks signed.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from clientagent.wire.messages import Count, Digest, Id, Message
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document, Signed

MAX_COHORT = 64
"""Rebuilding secrets costs the portal 20 ms for 10 banks, 2.6 s for 64 and 40 s for 100 (Shamir of pycryptodome)."""
HEADROOM = 12
"""Standard deviations of noise that a coordinate has room for; beyond lies a chance below 2**-100."""

Hex16 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=2000)]


# ----------------------------------------------------------------------- the terms
class Segment(Message):
    """Coordinates of one kind: integers round(value * scale) of values within +-``bound`` (0..``bound`` unless signed).

    ``noise`` is the standard deviation of one bank's noise share, in integers; 0 where the plan asks for none.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,62}$")]
    values: Annotated[int, Field(ge=1, le=2**40)]
    bound: Annotated[float, Field(ge=2.0**-100, le=2.0**100)]
    scale: Annotated[float, Field(gt=0)] = 1.0
    noise: Annotated[float, Field(ge=0, lt=2**48)] = 0.0
    signed: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bound * self.scale >= 2**52:
            raise ValueError("bound * scale must stay below 2**52")
        if self.noise and not self.signed:
            raise ValueError("a segment with noise is signed")
        return self


class CohortMember(Message):
    """One bank of a cohort: who signs for it, how much it counts, and which version its update starts from."""

    institution: Slug
    agent_id: Id
    public_key: Annotated[str, StringConstraints(max_length=100)]
    weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    base_number: Count
    base_digest: Digest
    staleness: Count = 0


class CohortTerms(Document):
    """All that the banks of one cohort agree on; its digest is the cohort's name. Anything else is another cohort.

    ``cohort`` counts the cohorts of one attempt from 1, so that no two share a name.
    For statistics, which come before there is a RunManifest, ``manifest_digest`` and ``base_digest`` are the plan's hash.
    """

    type: Literal["cohort_terms"] = "cohort_terms"
    purpose: Literal["update", "statistics", "evaluation"]
    project: Slug
    run: Id
    round: Count
    attempt: Count
    cohort: Annotated[int, Field(ge=1, le=10**6)] = 1
    manifest_digest: Digest
    members: Annotated[list[CohortMember], Field(min_length=3, max_length=MAX_COHORT)]
    threshold: Annotated[int, Field(ge=2)]
    min_cohort: Annotated[int, Field(ge=3)]
    weighting: Literal["samples", "equal"]
    clip: Annotated[float, Field(gt=0)] | None = None
    noise_multiplier: Annotated[float, Field(ge=0)] | None = None
    ring_bits: Literal[32] = 32
    segments: Annotated[list[Segment], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [member.institution for member in self.members]
        if names != sorted(set(names)):
            raise ValueError("members: each once, in the order of their names")
        if len({member.public_key for member in self.members}) != len(names):
            raise ValueError("members: two banks share an identity key")
        if not len(names) < 2 * self.threshold <= 2 * len(names):
            raise ValueError("threshold: more than half of the cohort, at most all")
        if self.min_cohort > len(names):
            raise ValueError("min_cohort: more than there are members")
        if not any(member.weight for member in self.members):
            raise ValueError("members: no weight is above zero")
        bases = {member.base_number: member.base_digest for member in self.members}
        if any(bases[member.base_number] != member.base_digest for member in self.members):
            raise ValueError("members: one base version with two digests")
        if len({segment.name for segment in self.segments}) != len(self.segments):
            raise ValueError("segments: a name appears twice")
        return self


class CohortDocument(Document):
    """Anything said inside a cohort."""

    rid: Digest


class BankDocument(CohortDocument):
    """Said by one bank, signed with its identity key."""

    institution: Slug


# ---------------------------------------------------------------------- stage keys
class KeyAdvertisement(BankDocument):
    """Fresh X25519 keys of one bank, and the commitment to the seed of its own mask."""

    type: Literal["cohort_key"] = "cohort_key"
    cipher_key: Hex32
    mask_key: Hex32
    commitment: Digest


class KeyList(CohortDocument):
    """From the portal: the keys of all that advertised some, each still signed by its bank."""

    type: Literal["cohort_keys"] = "cohort_keys"
    advertisements: Annotated[list[Signed], Field(max_length=MAX_COHORT)]


# -------------------------------------------------------------------- stage shares
class SecretShare(CohortDocument):
    """What a dealer signs for each share: nobody can swap, replay or invent one."""

    type: Literal["secret_share"] = "secret_share"
    dealer: Slug
    holder: Slug
    kind: Literal["self", "pair"]
    value: Hex16


class HeldShare(Message):
    """A share and its dealer's signature over the ``SecretShare``."""

    value: Hex16
    signature: Base64


class SharePair(Message):
    """One holder's shares of a dealer's two secrets: the seed of its own mask, and the seed of its mask key.

    Only ever one of them leaves the holder again.
    """

    self_share: HeldShare
    pair_share: HeldShare


class EncryptedShares(BankDocument):
    """Shares for every other bank of the key list, each readable for its holder only."""

    type: Literal["cohort_shares"] = "cohort_shares"
    keys_digest: Digest
    boxes: Annotated[dict[Slug, Base64], Field(max_length=MAX_COHORT)]


class ShareInbox(CohortDocument):
    """From the portal to one bank: what each dealer sealed for it."""

    type: Literal["cohort_inbox"] = "cohort_inbox"
    institution: Slug
    boxes: Annotated[dict[Slug, Base64], Field(max_length=MAX_COHORT)]


# -------------------------------------------------------------------- stage masked
class MaskedInput(BankDocument):
    """The masked vector by its digest; the bytes (4 a word, little-endian) travel as an upload."""

    type: Literal["masked_input"] = "masked_input"
    keys_digest: Digest
    dealers: Annotated[list[Slug], Field(max_length=MAX_COHORT)]
    words: Count
    digest: Digest


class SurvivorList(CohortDocument):
    """From the portal: the banks whose vectors will be summed, each with its own signed word."""

    type: Literal["cohort_survivors"] = "cohort_survivors"
    inputs: Annotated[list[Signed], Field(max_length=MAX_COHORT)]


# -------------------------------------------------------------------- stage unmask
class ConsistencySignature(BankDocument):
    """One bank's word for what it was told: the keys, who dealt shares, and whose vectors will be summed."""

    type: Literal["cohort_consistency"] = "cohort_consistency"
    keys_digest: Digest
    dealers: Annotated[list[Slug], Field(max_length=MAX_COHORT)]
    inputs: Annotated[dict[Slug, Digest], Field(max_length=MAX_COHORT)]


class UnmaskRequest(CohortDocument):
    """From the portal: open the self masks of those who stayed and the pair masks of those who left, never both of one."""

    type: Literal["unmask_request"] = "unmask_request"
    self_of: Annotated[list[Slug], Field(max_length=MAX_COHORT)]
    pair_of: Annotated[list[Slug], Field(max_length=MAX_COHORT)]
    consistency: Annotated[list[Signed], Field(max_length=MAX_COHORT)]


class UnmaskAnswer(BankDocument):
    """One bank's shares: of the self seed of each survivor, of the mask-key seed of each that dropped."""

    type: Literal["unmask_answer"] = "unmask_answer"
    self_shares: Annotated[dict[Slug, HeldShare], Field(max_length=MAX_COHORT)]
    pair_shares: Annotated[dict[Slug, HeldShare], Field(max_length=MAX_COHORT)]


class Opened(Message):
    """What a bank remembers of each sum that it helped to open, to answer once for each base version.

    ``plain_digest`` is of our own words in it but for counts of the base, ``counts_digest`` of these; None where it had no such words.
    """

    rid: Digest
    purpose: str
    run: Id
    base_number: Count
    base_digest: Digest
    survivors: list[Slug]
    plain_digest: Digest | None
    counts_digest: Digest | None = None

    @property
    def parts(self) -> dict[str, Digest]:
        """What of us was in the sum, by kind."""
        found = {self.purpose: self.plain_digest, "counts": self.counts_digest}
        return {name: digest for name, digest in found.items() if digest is not None}
