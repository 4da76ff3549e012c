"""Secrets that are handed to a person once and kept here as a hash: enrolment codes and invitation tokens."""

from __future__ import annotations

import hashlib
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_MISREAD = str.maketrans({"O": "0", "I": "1", "L": "1"})


def make_secret(groups: int = 4, length: int = 5) -> str:
    """Five bits a character: 100 bits in four groups of five."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(length)) for _ in range(groups))


def make_token() -> str:
    """192 bits for a link."""
    return secrets.token_urlsafe(24)


def secret_hash(code: str) -> str:
    """The hash of a code as a person may have typed it: any case, any hyphens, with or without ``.FINGERPRINT``."""
    secret = code.split(".", 1)[0].strip().upper().replace("-", "").replace(" ", "").translate(_MISREAD)
    return token_hash(secret)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
