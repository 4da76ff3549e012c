"""A bank's fresh X25519 keys of one cohort (RFC 7748), what two banks share, and boxes that only one bank can open."""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from clientagent.wire.errors import MaskKeyInvalid, ShareInvalid
from clientagent.wire.masking.streams import derive
from clientagent.wire.secure_messages import KeyAdvertisement

Entropy = Callable[[int], bytes]
NONCE_BYTES = 12
SEED_BYTES = 16


def mask_private(seed: bytes, rid: str, bank: str) -> bytes:
    """The X25519 private key of a 16-byte seed: seeds are what is shared, because Shamir's field has 128 bits."""
    return derive(seed, rid, "mask key", bank)


def public_of(private: bytes) -> str:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw().hex()


def commitment(self_seed: bytes, rid: str, bank: str) -> str:
    """Binds a bank to the seed of its own mask; hides it, because the seed has 128 random bits."""
    return derive(self_seed, rid, "commitment", bank).hex()


def self_mask_key(self_seed: bytes, rid: str, bank: str) -> bytes:
    return derive(self_seed, rid, "self mask", bank)


def pair_mask_key(private: bytes, rid: str, mine: KeyAdvertisement, peer: KeyAdvertisement) -> bytes:
    """The key of the mask between two banks: the same from either side, bound to both keys."""
    low, high = sorted((mine, peer), key=lambda bank: bank.institution)
    label = ("pair mask", low.institution, high.institution, low.mask_key, high.mask_key)
    return derive(_exchange(private, peer.mask_key, peer.institution), rid, *label)


def seal(private: bytes, rid: str, dealer: KeyAdvertisement, holder: KeyAdvertisement, text: bytes, entropy: Entropy) -> str:
    """ChaCha20-Poly1305 (RFC 8439) from dealer to holder, base64. The nonce is random: a restored backup may seal again."""
    nonce = entropy(NONCE_BYTES)
    key = _box_key(private, holder.cipher_key, holder.institution, rid, dealer, holder)
    return base64.b64encode(nonce + ChaCha20Poly1305(key).encrypt(nonce, text, _bound(rid, dealer, holder))).decode()


def unseal(private: bytes, rid: str, dealer: KeyAdvertisement, holder: KeyAdvertisement, box: str) -> bytes:
    """Open a dealer's box. Raises ``ShareInvalid``: changed, for somebody else, or of another cohort."""
    key = _box_key(private, dealer.cipher_key, dealer.institution, rid, dealer, holder)
    try:
        data = base64.b64decode(box, validate=True)
        return ChaCha20Poly1305(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(rid, dealer, holder))
    except (InvalidTag, ValueError) as error:
        raise ShareInvalid(
            expected=f"a box from {dealer.institution} to {holder.institution} in this cohort", got="one that does not open"
        ) from error


def _box_key(
    private: bytes, peer_key: str, peer: str, rid: str, dealer: KeyAdvertisement, holder: KeyAdvertisement
) -> bytes:
    label = ("box", dealer.institution, holder.institution, dealer.cipher_key, holder.cipher_key)
    return derive(_exchange(private, peer_key, peer), rid, *label)


def _bound(rid: str, dealer: KeyAdvertisement, holder: KeyAdvertisement) -> bytes:
    return "\n".join((rid, dealer.institution, holder.institution)).encode()


def _exchange(private: bytes, public: str, peer: str) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError as error:  # all-zero result: the peer's key has low order
        raise MaskKeyInvalid(expected=f"an X25519 key of {peer}", got="a weak one") from error
