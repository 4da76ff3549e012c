"""Shamir's shares (1979) of 16-byte secrets, each signed by its dealer, so that a wrong share has an author.

A signature that fails is the holder's lie; good signatures over shares that do not rebuild the secret are the dealer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from Crypto.Protocol.SecretSharing import Shamir

from clientagent.wire.errors import Malformed, ShareInvalid, SignatureInvalid
from clientagent.wire.masking.cohort import Cohort
from clientagent.wire.secure_messages import HeldShare, SecretShare
from clientagent.wire.signing import PrivateKey, Signature, Signed, open_signed, sign_document

Kind = Literal["self", "pair"]


def deal(
    secret: bytes, cohort: Cohort, *, dealer: str, holders: list[str], kind: Kind, identity: PrivateKey
) -> dict[str, HeldShare]:
    """One signed share for each holder; any ``threshold`` of them rebuild the secret, fewer say nothing about it."""
    shares = dict(Shamir.split(cohort.terms.threshold, cohort.size, secret))
    dealt = {}
    for holder in holders:
        value = shares[cohort.number_of(holder)].hex()
        document = SecretShare(rid=cohort.rid, dealer=dealer, holder=holder, kind=kind, value=value)
        dealt[holder] = HeldShare(value=value, signature=sign_document(document, identity).signature.value)
    return dealt


def check_share(share: HeldShare, cohort: Cohort, *, dealer: str, holder: str, kind: Kind) -> None:
    """Raises ``ShareInvalid`` unless this is what the dealer gave this holder for this cohort and this secret."""
    document = SecretShare(rid=cohort.rid, dealer=dealer, holder=holder, kind=kind, value=share.value)
    key = cohort.key_of(dealer)
    signed = Signed(
        document=document.model_dump(mode="json"), signature=Signature(key=key.fingerprint, value=share.signature)
    )
    try:
        open_signed(signed, key, SecretShare)
    except (SignatureInvalid, Malformed) as error:
        raise ShareInvalid(expected=f"the share that {dealer} signed for {holder}", got="another one") from error


def rebuild(shares: Mapping[str, HeldShare], cohort: Cohort) -> bytes:
    """The secret of ``threshold`` checked shares, by holder. The caller compares it with what the dealer is bound to."""
    chosen = sorted(shares)[: cohort.terms.threshold]
    if len(chosen) < cohort.terms.threshold:
        raise ShareInvalid(expected=f"{cohort.terms.threshold} shares", got=f"{len(chosen)}")
    return Shamir.combine([(cohort.number_of(holder), bytes.fromhex(shares[holder].value)) for holder in chosen])
