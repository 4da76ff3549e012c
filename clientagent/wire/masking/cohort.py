"""Who is in a cohort and what its terms mean: names, keys, limits, and the door through which every bank's document comes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeVar

from clientagent.wire.canonical import digest_of
from clientagent.wire.errors import CohortMismatch, CohortTooSmall, MaskKeyInvalid, Refusal
from clientagent.wire.masking.ring import Ring
from clientagent.wire.plan import Plan
from clientagent.wire.secure_messages import BankDocument, CohortDocument, CohortMember, CohortTerms, KeyAdvertisement
from clientagent.wire.signing import PublicKey, Signed, open_signed

B = TypeVar("B", bound=BankDocument)


@dataclass(frozen=True)
class Cohort:
    """Terms, and what follows from them."""

    terms: CohortTerms

    @cached_property
    def rid(self) -> str:
        return digest_of(self.terms)

    @cached_property
    def members(self) -> dict[str, CohortMember]:
        return {member.institution: member for member in self.terms.members}

    @cached_property
    def ring(self) -> Ring:
        return Ring(self.size, self.terms.segments)

    @property
    def size(self) -> int:
        return len(self.terms.members)

    @property
    def needed(self) -> int:
        """Fewest banks with which any stage may end."""
        return max(self.terms.threshold, self.terms.min_cohort)

    @property
    def tolerated(self) -> int:
        """Banks that may collude with a portal that lies: two groups of ``threshold`` always meet in an honest bank."""
        return 2 * self.terms.threshold - self.size - 1

    @cached_property
    def _keys(self) -> dict[str, PublicKey]:
        return {name: PublicKey.from_text(member.public_key) for name, member in self.members.items()}

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.members, start=1)}

    def key_of(self, bank: str) -> PublicKey:
        return self._keys[self._known(bank)]

    def number_of(self, bank: str) -> int:
        """Where Shamir's polynomial is evaluated for this bank: its place among the members, from 1."""
        return self._numbers[self._known(bank)]

    def factor_of(self, bank: str) -> float:
        """What a bank multiplies its update by before it is quantised: its weight over the largest weight."""
        return self.members[self._known(bank)].weight / max(member.weight for member in self.terms.members)

    def divisor_of(self, survivors: Iterable[str]) -> float:
        """What the sum of the survivors' weighted updates is divided by to be their mean."""
        return math.fsum(self.factor_of(bank) for bank in sorted(survivors))

    def require_enough(self, banks: Collection[str], needed: int | None = None) -> None:
        """Raises ``CohortTooSmall``."""
        needed = self.needed if needed is None else needed
        if len(banks) < needed:
            raise CohortTooSmall(expected=f"{needed} of {self.size} banks", got=f"{len(banks)}")

    def require_own(self, document: CohortDocument) -> None:
        if document.rid != self.rid:
            raise CohortMismatch(expected=f"the cohort {self.rid[:16]}", got=f"{document.rid[:16]}")

    def open(self, signed: Signed, model: type[B]) -> B:
        """A bank's document, signed with that bank's pinned key, of this cohort.

        Raises ``CohortMismatch``, ``SignatureInvalid`` or ``Malformed``.
        """
        document = open_signed(signed, self.key_of(str(signed.document.get("institution"))), model)
        self.require_own(document)
        return document

    def open_all(self, signed: Iterable[Signed], model: type[B], otherwise: type[Refusal]) -> dict[str, B]:
        """Documents by bank. Raises ``otherwise`` when one bank appears twice."""
        documents: dict[str, B] = {}
        for one in signed:
            document = self.open(one, model)
            if document.institution in documents:
                raise otherwise(expected="one document of each bank", got=f"two of {document.institution}")
            documents[document.institution] = document
        return documents

    def _known(self, bank: str) -> str:
        if bank not in self.members:
            raise CohortMismatch(expected="a bank of this cohort", got=bank[:80])
        return bank


def threshold_for(share: float, members: int) -> int:
    """Banks that must stay: the plan's ``share`` (more than half) of the cohort, rounded up, in decimals as written."""
    return math.ceil(Fraction(str(share)) * members)


def fewest_in_sum(plan: Plan, members: int) -> int:
    """Fewest banks over which a cohort of so many opens a sum. Raises ``CohortMismatch`` for a plan without secure aggregation."""
    rules = plan.privacy.secure_aggregation
    if rules is None:
        raise CohortMismatch(expected="a plan with secure aggregation", got="one without")
    return max(threshold_for(rules.threshold, members), rules.min_cohort)


def require_distinct(advertisements: Iterable[KeyAdvertisement]) -> None:
    """Raises ``MaskKeyInvalid`` when a key was advertised twice: a copy is a bank posing as another."""
    seen: dict[str, str] = {}
    for one in advertisements:
        for key in (one.cipher_key, one.mask_key):
            if key in seen:
                raise MaskKeyInvalid(expected="keys of their own", got=f"{one.institution} repeats a key of {seen[key]}")
            seen[key] = one.institution


def keys_digest(signed: Iterable[Signed]) -> str:
    """What a list of advertisements is called: the digest of the signed statements in the order of their banks."""
    return digest_of([one.digest for one in sorted(signed, key=lambda one: str(one.document.get("institution")))])
