"""HTTP Message Signatures (RFC 9421) as fedportal uses them: what every agent request covers and how it is checked.

Covered: method, path, query, Content-Digest (RFC 9530), protocol version and the last ledger head seen. Not covered:
host and scheme, because a bank's proxy and the portal's reverse proxy may rewrite them.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from clientagent.wire import PROTOCOL
from clientagent.wire.errors import ClockSkewed, Malformed, Refusal, Replayed, SignatureInvalid
from clientagent.wire.signing import PrivateKey, PublicKey

TAG = "fedportal"
MAX_AGE_S = 300
COMPONENTS = ("@method", "@path", "@query", "content-digest", "fed-protocol", "fed-seen")
PROTOCOL_HEADER = "Fed-Protocol"
SEEN_HEADER = "Fed-Seen"


@dataclass
class _Message:
    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class VerifiedRequest:
    """Who signed a request and what it said about itself."""

    key_id: str
    nonce: str
    created: int
    protocol: int
    seen: str


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, *, private: PrivateKey | None = None, public: PublicKey | None = None) -> None:
        self.private, self.public = private, public

    def resolve_private_key(self, key_id: str):  # type: ignore[no-untyped-def]
        return self.private.cryptography_key if self.private else None

    def resolve_public_key(self, key_id: str):  # type: ignore[no-untyped-def]
        return self.public.cryptography_key if self.public else None


def sign_request(
    *, method: str, url: str, body: bytes, key: PrivateKey, now: dt.datetime, seen: str = "", nonce: str = ""
) -> dict[str, str]:
    """The headers that make this request the agent's: digest, protocol, last head seen, signature.

    ``url`` is absolute. ``seen`` is ``chain;seq;hash`` of the last ledger head, or empty.
    """
    message = _Message(method, url, {PROTOCOL_HEADER: str(PROTOCOL), SEEN_HEADER: seen or "none"})
    signer = HTTPMessageSigner(
        signature_algorithm=algorithms.ED25519, key_resolver=_Keys(private=key)
    )
    signer.sign(
        message, key_id=key.fingerprint, created=now, nonce=nonce or secrets.token_urlsafe(16), label="agent",
        tag=TAG, covered_component_ids=COMPONENTS, body=body,
    )
    return message.headers


def key_id_of(headers: Mapping[str, str]) -> str:
    """The key that a request claims, read before anything is verified. Raises ``SignatureInvalid``."""
    value = {name.lower(): text for name, text in headers.items()}.get("signature-input", "")
    try:
        parsed = HTTPMessageVerifier._parse_signature_dictionary(value) if value else None
        key_id = next(iter(parsed.values())).params.get("keyid") if parsed else None
    except Exception as error:  # the parser raises many kinds for bytes of strangers
        raise SignatureInvalid(expected="a Signature-Input header (RFC 9421)", got=value[:80]) from error
    if not isinstance(key_id, str):
        raise SignatureInvalid(expected="a signed request (RFC 9421)", got="no signature")
    return key_id


def declared_digest(headers: Mapping[str, str]) -> str:
    """The SHA-256 (hex) that a signed request declares for its body (RFC 9530). Raises ``SignatureInvalid``."""
    value = {name.lower(): text for name, text in headers.items()}.get("content-digest", "")
    match = re.fullmatch(r"sha-256=:([A-Za-z0-9+/]{43}=):", value.strip())
    if match is None:
        raise SignatureInvalid(expected="a Content-Digest of SHA-256", got=value[:80] or "none")
    return base64.b64decode(match[1]).hex()


def verify_request(
    *, method: str, url: str, headers: Mapping[str, str], body: bytes | None, key: PublicKey, now: dt.datetime,
    is_fresh_nonce: Callable[[str, str], bool],
) -> VerifiedRequest:
    """Check signature, digest, age and nonce of a request.

    ``body`` None: it is still on its way, and the caller holds it against ``declared_digest``.
    ``is_fresh_nonce(key_id, nonce)`` remembers a nonce and says whether it is new.
    Raises ``SignatureInvalid``, ``ClockSkewed`` or ``Replayed``.
    """
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=_Keys(public=key))
    verifier.max_clock_skew = dt.timedelta(days=36500)  # the age is judged below, with the caller's clock
    try:
        (result,) = verifier.verify(
            _Message(method, url, dict(headers)), max_age=None, expect_tag=TAG, require_components=COMPONENTS, body=body
        )
    except (HTTPMessageSignaturesException, Refusal, ValueError) as error:
        raise SignatureInvalid(expected="a valid RFC 9421 signature over the request", got=str(error)[:200]) from error
    created = int(result.parameters["created"])
    skew = created - int(now.timestamp())
    if abs(skew) > MAX_AGE_S:
        raise ClockSkewed(
            expected=f"a time within {MAX_AGE_S} s of {now:%Y-%m-%dT%H:%M:%SZ}", got=f"a clock {skew:+d} s off"
        )
    nonce = str(result.nonce or "")
    if len(nonce) < 16 or not is_fresh_nonce(key.fingerprint, nonce):
        raise Replayed(expected="a fresh nonce of at least 16 characters", got=nonce[:40] or "none")
    lowered = {name.lower(): text for name, text in headers.items()}
    try:
        protocol = int(lowered[PROTOCOL_HEADER.lower()])
    except (KeyError, ValueError) as error:
        raise Malformed(expected=f"a number in {PROTOCOL_HEADER}", got=str(error)) from error
    seen = lowered.get(SEEN_HEADER.lower(), "none")
    return VerifiedRequest(key.fingerprint, nonce, created, protocol, "" if seen == "none" else seen)
