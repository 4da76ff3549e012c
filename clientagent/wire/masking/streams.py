"""Masks: a 256-bit key becomes a stream of ring words (ChaCha20, RFC 8439), block by block, so that memory stays flat.

A key serves one mask of one cohort (HKDF-SHA256, RFC 5869, salted with the cohort's digest), so the nonce may be constant.
"""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clientagent.wire.masking.ring import BLOCK, WORD, Words

DOMAIN = "fedportal secure aggregation 1"
_ZEROS = memoryview(bytes(4 * BLOCK))


def derive(secret: bytes, rid: str, *label: str) -> bytes:
    """32 bytes for one purpose in one cohort. Labels hold no line break, so different lists give different keys."""
    info = "\n".join((DOMAIN, *label)).encode()
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=bytes.fromhex(rid), info=info).derive(secret)


class Stream:
    """One mask, read from its beginning to its end. ``sign`` +1 adds it, -1 takes it away."""

    def __init__(self, key: bytes, sign: int) -> None:
        self._encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._sign = sign

    def apply(self, words: Words, scratch: Words) -> None:
        """Add the next ``len(words)`` words of the mask in place, modulo 2**32. ``scratch`` holds BLOCK words."""
        for start in range(0, len(words), BLOCK):
            part = words[start : start + BLOCK]
            size = len(part)
            self._encryptor.update_into(_ZEROS[: 4 * size], scratch.data.cast("B")[: 4 * size])
            if self._sign > 0:
                np.add(part, scratch[:size], out=part)
            else:
                np.subtract(part, scratch[:size], out=part)


def scratch() -> Words:
    return np.empty(BLOCK, WORD)
