"""A signature holds for one document, one key and one kind, and for nothing else."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.canonical import canonical
from clientagent.wire.errors import Malformed, Refusal, SignatureInvalid
from clientagent.wire.messages import Decision, Head
from clientagent.wire.signing import PrivateKey, PublicKey, Signed, open_signed, short, sign_document

# RFC 8032 section 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
KEY = PrivateKey(Ed25519PrivateKey.from_private_bytes(SEED))
HEAD = Head(chain="run/1", seq=3, hash="a" * 64, at_utc="2026-11-23T14:00:00Z")


def test_the_signature_of_rfc_8032():
    assert KEY.public.raw.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert KEY.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_signed_document_opens_with_its_key():
    assert open_signed(canonical(sign_document(HEAD, KEY)), KEY.public, Head) == HEAD


def test_signing_twice_says_the_same_statement():
    assert sign_document(HEAD, KEY).digest == sign_document(HEAD, KEY).digest


@given(st.data())
def test_one_changed_byte_is_a_refusal(data):
    original = canonical(sign_document(HEAD, KEY))
    where = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != original[where]))
    with pytest.raises(Refusal):
        open_signed(original[:where] + bytes([byte]) + original[where + 1 :], KEY.public, Head)


def test_every_changed_field_is_a_refusal():
    for field, value in {"chain": "run/2", "seq": 4, "hash": "b" * 64, "at_utc": "2026-11-23T14:00:01Z"}.items():
        signed = sign_document(HEAD, KEY).model_dump()
        signed["document"][field] = value
        with pytest.raises(SignatureInvalid):
            open_signed(signed, KEY.public, Head)


def test_another_key_is_a_refusal_even_under_the_right_name():
    forged = sign_document(HEAD, PrivateKey.generate()).model_dump()
    with pytest.raises(SignatureInvalid):
        open_signed(forged, KEY.public, Head)
    forged["signature"]["key"] = KEY.fingerprint
    with pytest.raises(SignatureInvalid):
        open_signed(forged, KEY.public, Head)


def test_a_signature_for_one_kind_never_serves_as_another():
    with pytest.raises(Malformed):
        open_signed(sign_document(HEAD, KEY), KEY.public, Decision)


def test_a_document_without_its_type_is_no_document():
    document = HEAD.model_dump(mode="json")
    del document["type"]
    value = base64.b64encode(KEY.sign(canonical(document))).decode()
    signed = {"document": document, "signature": {"key": KEY.fingerprint, "value": value}}
    with pytest.raises(Malformed, match="type"):
        open_signed(signed, KEY.public, Head)


def test_an_unknown_field_is_refused_though_signed():
    document = {**HEAD.model_dump(mode="json"), "extra": 1}
    value = base64.b64encode(KEY.sign(canonical(document))).decode()
    with pytest.raises(Malformed, match="extra"):
        open_signed(
            {"document": document, "signature": {"key": KEY.fingerprint, "value": value}}, KEY.public, Head
        )


@pytest.mark.parametrize("value", ["", "x", "é", "A" * 87, "AAAA", base64.b64encode(b"0" * 65).decode()])
def test_a_signature_that_is_none_is_a_refusal(value):
    signed = sign_document(HEAD, KEY).model_dump()
    signed["signature"]["value"] = value
    with pytest.raises(SignatureInvalid):
        open_signed(signed, KEY.public, Head)


def test_a_signature_has_one_spelling():
    signed = sign_document(HEAD, KEY).model_dump()
    text = signed["signature"]["value"]
    other = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    signed["signature"]["value"] = other
    with pytest.raises(SignatureInvalid):
        open_signed(signed, KEY.public, Head)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"document":{}}', b'{"document":[],"signature":{}}', b'{"document":{},"signature":"x"}']
)
def test_what_is_no_signed_document_is_malformed(data):
    with pytest.raises(Malformed):
        open_signed(data, KEY.public, Head)


def test_an_order_of_keys_or_spaces_in_transit_changes_nothing():
    plain = sign_document(HEAD, KEY).model_dump()
    document = dict(reversed(plain["document"].items()))
    shuffled = json.dumps({"signature": plain["signature"], "document": document}, indent=1)
    assert open_signed(shuffled.encode(), KEY.public, Head) == HEAD
    assert Signed.model_validate_json(shuffled).digest == sign_document(HEAD, KEY).digest


def test_a_private_key_survives_its_pem_and_no_other_key_does():
    assert PrivateKey.from_pem(KEY.to_pem()).fingerprint == KEY.fingerprint
    other = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    locked = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    for pem in (b"", b"garbage", KEY.to_pem()[:60], other, locked):
        with pytest.raises(Malformed):
            PrivateKey.from_pem(pem)


@pytest.mark.parametrize("text", ["", "AAAA", "not base64!", "é" * 44, base64.b64encode(b"0" * 33).decode()])
def test_a_public_key_has_32_bytes(text):
    with pytest.raises(Malformed):
        PublicKey.from_text(text)


def test_a_public_key_survives_its_text():
    assert PublicKey.from_text(KEY.public.text).fingerprint == KEY.fingerprint


def test_people_compare_the_first_32_digits_in_groups_of_four():
    assert short("0123456789abcdef" * 4) == "0123 4567 89ab cdef 0123 4567 89ab cdef"
