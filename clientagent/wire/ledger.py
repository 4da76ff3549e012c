"""The audit log's arithmetic: how an entry is sealed into its chain and how a chain is verified.

content digest = SHA-256 of the canonical entry; hash = SHA-256("fedportal-ledger-1" | previous hash | content digest).
Content digests alone therefore prove that one head extends another, without showing what the entries say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from clientagent.wire.canonical import digest_of
from clientagent.wire.errors import LedgerBroken, Malformed

GENESIS = "0" * 64
_DOMAIN = b"fedportal-ledger-1\n"


class Entry(BaseModel):
    """One fact: who did what in which chain, and when."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    chain: str
    seq: Annotated[int, Field(ge=1)]
    at_utc: str
    kind: str
    actor: str
    body: dict[str, Any]

    @property
    def content_digest(self) -> str:
        return digest_of(self)


def seal(previous: str, content_digest: str) -> str:
    """The hash of an entry, from the hash before it and its content digest."""
    return hashlib.sha256(_DOMAIN + f"{previous}\n{content_digest}".encode()).hexdigest()


def extend(previous: str, content_digests: Iterable[str]) -> str:
    """The head after appending these content digests to the head ``previous``."""
    for digest in content_digests:
        previous = seal(previous, digest)
    return previous


def verify_chain(entries: Iterable[tuple[Entry, str]], *, chain: str) -> str:
    """Check (entry, stored hash) pairs from seq 1 on and return the head's hash (``GENESIS`` for none).

    Raises ``LedgerBroken`` naming the first entry that does not fit.
    """
    previous, expected_seq = GENESIS, 1
    for entry, stored in entries:
        if entry.chain != chain or entry.seq != expected_seq:
            raise LedgerBroken(expected=f"entry {expected_seq} of {chain}", got=f"entry {entry.seq} of {entry.chain}")
        try:
            previous = seal(previous, entry.content_digest)
        except Malformed as error:
            raise LedgerBroken(expected=f"an entry {entry.seq} that can be hashed", got=error.got) from error
        if previous != stored:
            raise LedgerBroken(
                expected=f"hash {stored[:16]} at entry {entry.seq}", got=f"{previous[:16]}: it was changed"
            )
        expected_seq += 1
    return previous
