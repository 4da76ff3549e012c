"""A signed request is this agent's, unchanged, recent and new; anything else has its own refusal."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.errors import ClockSkewed, Malformed, Replayed, SignatureInvalid
from clientagent.wire.http import MAX_AGE_S, VerifiedRequest, key_id_of, sign_request, verify_request
from clientagent.wire.signing import PrivateKey, PublicKey

NORTH = PrivateKey.generate()
NOW = dt.datetime(2026, 11, 23, 14, 0, tzinfo=dt.UTC)
URL = "https://portal.example/api/v1/updates?wait=25&x=%20"
BODY = b'{"a":1}'
SEEN = "run/1;3;" + "a" * 64


class Nonces:
    """Remembers nonces as the portal does, per key."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    def __call__(self, key_id: str, nonce: str) -> bool:
        fresh = (key_id, nonce) not in self.seen
        self.seen.add((key_id, nonce))
        return fresh


def signed(**changes) -> dict[str, str]:
    request = {"method": "POST", "url": URL, "body": BODY, "key": NORTH, "now": NOW, "seen": SEEN} | changes
    return sign_request(**request)


def checked(
    headers: dict[str, str], *, key: PublicKey = NORTH.public, nonces: Nonces | None = None, **changes
) -> VerifiedRequest:
    request = {"method": "POST", "url": URL, "body": BODY, "now": NOW} | changes
    return verify_request(headers=headers, key=key, is_fresh_nonce=nonces or Nonces(), **request)


def test_a_signed_request_says_who_when_and_what_was_seen():
    request = checked(signed(nonce="n" * 20))
    assert (request.key_id, request.nonce, request.protocol, request.seen) == (NORTH.fingerprint, "n" * 20, 1, SEEN)
    assert request.created == int(NOW.timestamp())


def test_a_request_that_has_seen_no_head_says_so():
    assert checked(signed(seen="")).seen == ""


def test_the_spelling_of_header_names_does_not_matter():
    assert checked({name.lower(): value for name, value in signed().items()}).key_id == NORTH.fingerprint
    assert checked({name.upper(): value for name, value in signed().items()}).key_id == NORTH.fingerprint


@pytest.mark.parametrize(
    "other",
    [
        "http://10.0.0.7:8000/api/v1/updates?wait=25&x=%20",  # a reverse proxy may rewrite host and scheme
        "https://portal.example:443/api/v1/updates?wait=25&x=%20",
    ],
)
def test_host_and_scheme_are_not_covered(other):
    assert checked(signed(), url=other).key_id == NORTH.fingerprint


@pytest.mark.parametrize(
    "tampered",
    [
        {"method": "PUT"}, {"method": "GET"}, {"body": b'{"a":2}'}, {"body": b""}, {"body": BODY + b" "},
        {"url": URL.replace("updates", "uploads")}, {"url": URL.replace("25", "26")}, {"url": URL.split("?")[0]},
        {"url": URL + "&y=1"}, {"url": URL.replace("/api", "//api")},
    ],
)
def test_a_tampered_request_is_refused(tampered):
    with pytest.raises(SignatureInvalid):
        checked(signed(), **tampered)


@pytest.mark.parametrize("header", ["Content-Digest", "Fed-Protocol", "Fed-Seen", "Signature", "Signature-Input"])
@pytest.mark.parametrize("change", ["remove", "other", "double"])
def test_a_tampered_header_is_refused(header, change):
    headers = signed()
    other = {
        "Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(b'x').digest()).decode()}:",
        "Fed-Protocol": "2", "Fed-Seen": "none", "Signature": f"agent=:{base64.b64encode(b'0' * 64).decode()}:",
        "Signature-Input": headers["Signature-Input"].replace("created=", "created=1"),
    }[header]
    if change == "remove":
        del headers[header]
    else:
        headers[header] = other if change == "other" else f"{headers[header]}, {headers[header]}"
    with pytest.raises(SignatureInvalid):
        checked(headers)


@given(st.data())
def test_any_changed_character_of_any_header_is_refused(data):
    headers = signed()
    name = data.draw(st.sampled_from(sorted(headers)))
    where = data.draw(st.integers(0, len(headers[name]) - 1))
    other = data.draw(st.characters().filter(lambda c: c.strip() and c.lower() != headers[name][where].lower()))
    headers[name] = headers[name][:where] + other + headers[name][where + 1 :]
    try:
        changed = checked(headers)
    except SignatureInvalid:
        return
    # what is left are spellings of the same: the label of the signature and the unused bits of base64
    assert changed.key_id == NORTH.fingerprint
    assert (changed.protocol, changed.seen, changed.created) == (1, SEEN, int(NOW.timestamp()))


def test_another_key_is_refused_even_under_the_right_name():
    headers = signed(key=PrivateKey.generate())
    with pytest.raises(SignatureInvalid):
        checked(headers)


@pytest.mark.parametrize("seconds", [-MAX_AGE_S, -1, 0, 1, MAX_AGE_S])
def test_a_clock_within_five_minutes_is_right_enough(seconds):
    assert checked(signed(now=NOW + dt.timedelta(seconds=seconds))).key_id == NORTH.fingerprint


@pytest.mark.parametrize("seconds", [-86_400 * 400, -MAX_AGE_S - 1, MAX_AGE_S + 1, 86_400 * 400])
def test_a_clock_further_off_is_told_by_how_much(seconds):
    with pytest.raises(ClockSkewed) as refusal:
        checked(signed(now=NOW + dt.timedelta(seconds=seconds)))
    assert f"{seconds:+d} s" in refusal.value.got


def test_a_request_works_once():
    headers, nonces = signed(), Nonces()
    checked(headers, nonces=nonces)
    with pytest.raises(Replayed):
        checked(headers, nonces=nonces)


def test_two_requests_have_two_nonces():
    nonces = Nonces()
    for _ in range(3):
        checked(signed(), nonces=nonces)


def test_a_short_nonce_is_no_nonce():
    with pytest.raises(Replayed):
        checked(signed(nonce="short"))


def test_a_refused_request_does_not_use_up_its_nonce():
    headers, nonces = signed(), Nonces()
    with pytest.raises(SignatureInvalid):
        checked(headers, nonces=nonces, body=b"tampered")
    assert checked(headers, nonces=nonces).key_id == NORTH.fingerprint


def test_a_signature_that_covers_less_is_refused(monkeypatch):
    monkeypatch.setattr("clientagent.wire.http.COMPONENTS", ("@method", "@path", "content-digest"))
    headers = signed()
    monkeypatch.undo()
    with pytest.raises(SignatureInvalid):
        checked(headers)


def test_a_protocol_that_is_no_number_is_malformed(monkeypatch):
    monkeypatch.setattr("clientagent.wire.http.PROTOCOL", "one")
    headers = signed()
    monkeypatch.undo()
    with pytest.raises(Malformed):
        checked(headers)


def test_the_claimed_key_is_read_before_anything_is_verified():
    assert key_id_of(signed()) == NORTH.fingerprint


@pytest.mark.parametrize(
    "value",
    ["", "agent", "agent=()", "agent=();keyid=5", "agent=(;", "\x00", "é", "=;,", 'a=("@method");keyid="x', "(" * 5000],
)
def test_a_request_that_claims_no_key_is_refused(value):
    with pytest.raises(SignatureInvalid):
        key_id_of({"Signature-Input": value})
    with pytest.raises(SignatureInvalid):
        key_id_of({})


@given(st.text(max_size=60))
def test_no_text_of_a_stranger_breaks_the_reader(value):
    try:
        assert isinstance(key_id_of({"signature-input": value}), str)
    except SignatureInvalid:
        pass
    with pytest.raises(SignatureInvalid):
        checked(signed() | {"Signature-Input": value})
