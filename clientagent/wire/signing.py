"""Who said it: Ed25519 keys, their fingerprints, and signed documents.

A signed document carries its type inside the signed bytes, so a signature for one kind never serves as another.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Literal, Self, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from clientagent.wire.canonical import canonical, digest_of, parse_json
from clientagent.wire.errors import Malformed, SignatureInvalid


def _decode(text: str) -> bytes:
    """Base64 in its one spelling: unused bits that are not zero would make two texts of one signature."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not the canonical base64 of its bytes")
    return data


class Document(BaseModel):
    """Anything that can be signed. ``type`` separates the domains of signatures."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants", allow_inf_nan=False)

    type: str


D = TypeVar("D", bound=Document)


class PublicKey:
    """A 32-byte Ed25519 public key, named by its fingerprint: SHA-256 of the raw key, hexadecimal."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != 32:
            raise Malformed(expected="a 32-byte Ed25519 public key", got=f"{len(raw)} bytes")
        self.raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def from_text(cls, text: str) -> Self:
        try:
            return cls(_decode(text))
        except ValueError as error:
            raise Malformed(expected="a base64 public key", got=text[:60]) from error

    @property
    def text(self) -> str:
        return base64.b64encode(self.raw).decode()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def cryptography_key(self) -> Ed25519PublicKey:
        return self._key

    def verify(self, signature: bytes, data: bytes) -> None:
        try:
            self._key.verify(signature, data)
        except InvalidSignature as error:
            raise SignatureInvalid(expected=f"a signature by {short(self.fingerprint)}", got="another one") from error


class PrivateKey:
    """An Ed25519 private key. It never leaves the machine that made it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(
            key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        )

    @classmethod
    def generate(cls) -> Self:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Malformed(expected="a PEM private key", got="something else") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Malformed(expected="an Ed25519 private key", got=type(key).__name__)
        return cls(key)

    def to_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def fingerprint(self) -> str:
        return self.public.fingerprint

    @property
    def cryptography_key(self) -> Ed25519PrivateKey:
        return self._key

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


class Signature(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    algorithm: Literal["ed25519"] = "ed25519"
    value: str


class Signed(BaseModel):
    """A document and who signed it. Untrusted until ``open_signed`` has returned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    document: dict[str, Any]
    signature: Signature

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical document and signature: the identity of this very statement."""
        return digest_of(self)


def sign_document(document: Document, key: PrivateKey) -> Signed:
    value = base64.b64encode(key.sign(canonical(document))).decode()
    return Signed(document=document.model_dump(mode="json"), signature=Signature(key=key.fingerprint, value=value))


def open_signed(signed: Signed | dict[str, Any] | bytes, key: PublicKey, model: type[D]) -> D:
    """Verify the signature with this key and parse the document.

    Raises ``Malformed`` when it does not follow the schema and ``SignatureInvalid`` when the key did not sign it.
    """
    if isinstance(signed, bytes):
        signed = parse_json(signed)
    if not isinstance(signed, Signed):
        signed = parse(Signed, signed)
    if signed.signature.key != key.fingerprint:
        raise SignatureInvalid(
            expected=f"the key {short(key.fingerprint)}", got=f"the key {short(signed.signature.key)}"
        )
    try:
        value = _decode(signed.signature.value)
    except ValueError as error:
        raise SignatureInvalid(expected="a base64 signature", got=signed.signature.value[:60]) from error
    key.verify(value, canonical(signed.document))
    if "type" not in signed.document:  # the default of the schema is no part of what was signed
        raise Malformed(expected=f"a document that says its type, as {model.__name__} does", got="none")
    return parse(model, signed.document)


M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], value: dict[str, Any]) -> M:
    """Turn JSON into a typed document once, at the door. Raises ``Malformed`` naming the first wrong field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or model.__name__
        raise Malformed(expected=f"{model.__name__}.{where}: {first['msg']}", got="something else") from error


def short(fingerprint: str) -> str:
    """A fingerprint as people compare it: the first 32 digits in groups of four."""
    head = fingerprint[:32]
    return " ".join(head[i : i + 4] for i in range(0, len(head), 4))
