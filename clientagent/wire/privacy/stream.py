"""Where noise comes from: a ChaCha20 keystream (RFC 8439) under a key from the operating system, never a statistics generator.

The same key gives the same numbers, so a key that was put on disk before training repeats a crashed computation to the last bit.
Whoever knows the key can take the noise away again: it stays at whoever drew it, with the mode of a private key.
"""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]
KEY_BYTES = 32
BLOCK = 1 << 18
"""Bytes of keystream that are made at a time: within a core's cache."""
_ZEROS = memoryview(bytes(BLOCK))


class Stream:
    """An endless sequence of random numbers. Not to be shared between threads."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {KEY_BYTES} bytes, not {len(key)}")
        self._key = key

    @cached_property
    def _cipher(self) -> CipherContext:
        return Cipher(algorithms.ChaCha20(self._key, bytes(16)), mode=None).encryptor()

    @classmethod
    def fresh(cls) -> Self:
        return cls(os.urandom(KEY_BYTES))

    def child(self, name: str) -> Stream:
        """An independent stream that this key and the name fix, however much was drawn from this one."""
        return Stream(hashlib.blake2b(name.encode(), digest_size=KEY_BYTES, key=self._key, person=b"fedportal-dp").digest())

    def words(self, count: int) -> Words:
        """(count,) uniform 64-bit words."""
        return self._draw(8 * count).view("<u8").astype(np.uint64, copy=False)

    def words32(self, count: int) -> NDArray[np.uint32]:
        """(count,) uniform 32-bit words."""
        return self._draw(4 * count).view("<u4").astype(np.uint32, copy=False)

    def uniform(self, count: int) -> Floats:
        """(count,) multiples of 2**-53 in [0, 1)."""
        return (self.words(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def gaussian(self, count: int) -> Floats:
        """(count,) standard normals (Box and Muller 1958), from 64-bit radii: the tail is cut where its weight is 2**-64."""
        pairs = -(-count // 2)
        radius = np.sqrt(-2.0 * np.log((self.words(pairs).astype(np.float64) + 1.0) * 2.0**-64))
        angle = self.uniform(pairs) * (2.0 * np.pi)
        normals = np.empty(2 * pairs)
        np.multiply(radius, np.cos(angle), out=normals[:pairs])
        np.multiply(radius, np.sin(angle), out=normals[pairs:])
        return normals[:count]

    def _draw(self, size: int) -> NDArray[np.uint8]:
        drawn = np.empty(size, np.uint8)
        view = drawn.data
        for start in range(0, size, BLOCK):
            part = view[start : start + BLOCK]
            self._cipher.update_into(_ZEROS[: len(part)], part)
        return drawn
