"""Enrolment: the code carries the fingerprint that the bank pins, and nothing is pinned that does not fit it."""

from __future__ import annotations

import pytest

from clientagent import enrolment
from clientagent.policy import Policy, load_policy
from clientagent.wire.errors import (
    AgentRevoked,
    EnrolmentCodeInvalid,
    IllegalMove,
    Malformed,
    PortalKeyMismatch,
    PortalUnreachable,
    SignatureInvalid,
)
from clientagent.wire.messages import Enrolment
from clientagent.wire.signing import PrivateKey
from tests.agent.portal_double import SECRET, Reply


def enrol(home, portal, code=None):
    return enrolment.enrol(home, url=portal.url, code=code or portal.code, name="north-agent")


def test_enrolment_pins_the_portal_and_writes_a_policy_that_accepts_nothing(home, portal):
    identity = enrol(home, portal)
    assert identity.root.fingerprint == portal.key.fingerprint
    assert identity.key_fingerprint == home.key.fingerprint
    assert home.identity == identity
    assert load_policy(home.policy_path) == Policy()
    assert "[accept]" in home.policy_path.read_text()


def test_the_private_key_is_in_no_request(home, portal):
    enrol(home, portal)
    secret = home.key_path.read_text().splitlines()[1]
    assert all(secret.encode() not in request.body for request in portal.requests)


def test_a_portal_with_another_key_is_not_pinned(home, portal):
    stranger = PrivateKey.generate()
    with pytest.raises(PortalKeyMismatch) as refusal:
        enrol(home, portal, f"{SECRET}.{stranger.fingerprint[:32]}")
    assert refusal.value.got == portal.key.fingerprint[:32]
    assert home.identity is None


def test_a_root_key_that_did_not_sign_is_not_pinned(home, portal):
    """Somebody in between spells out the true root key but cannot sign with it."""
    true = PrivateKey.generate()
    portal.change = lambda document: document.model_copy(update={"root_key": true.public.text})
    with pytest.raises(SignatureInvalid):
        enrol(home, portal, f"{SECRET}.{true.fingerprint[:32]}")
    assert home.identity is None


def test_an_enrolment_of_another_key_is_not_ours(home, portal):
    portal.change = lambda document: document.model_copy(update={"key_fingerprint": "0" * 64})
    with pytest.raises(PortalKeyMismatch):
        enrol(home, portal)
    assert home.identity is None


@pytest.mark.parametrize("code", ["SECRET-CODE", "SECRET-CODE.1234", ".", "SECRET-CODE." + "x" * 32, "." + "0" * 32])
def test_a_code_without_a_fingerprint_is_not_even_sent(home, portal, code):
    with pytest.raises(EnrolmentCodeInvalid):
        enrol(home, portal, code)
    assert portal.requests == []


def test_an_enrolment_whose_answer_was_lost_is_tried_again_with_the_same_key(home, portal):
    portal.intercept = lambda request: Reply(200, b'{"documen', cut_after=5) if len(portal.requests) == 1 else None
    enrol(home, portal)
    assert len({request.body for request in portal.requests}) == 1


def test_an_enrolled_home_is_not_enrolled_again(home, portal):
    enrol(home, portal)
    with pytest.raises(IllegalMove, match="enrolled at"):
        enrol(home, portal)


def test_waiting_ends_with_the_administrators_word(home, portal):
    portal.state = "pending"
    assert enrol(home, portal).state == "pending"
    portal.state = "approved"
    assert enrolment.wait_for_approval(home).state == "approved"
    portal.state = "revoked"
    with pytest.raises(AgentRevoked):
        enrolment.wait_for_approval(home)


def test_the_state_is_believed_only_under_the_pinned_key(home, portal):
    enrol(home, portal)
    portal.key = PrivateKey.generate()
    with pytest.raises(SignatureInvalid):
        enrolment.refresh(home)


@pytest.mark.parametrize("url", ["portal.example", "ftp://portal.example", "http://", "http://portal:notaport"])
def test_an_address_that_is_none_is_refused(home, portal, url):
    with pytest.raises((Malformed, PortalUnreachable)):
        enrolment.enrol(home, url=url, code=portal.code)


def test_the_enrolment_request_says_who_we_are(home, portal):
    enrol(home, portal)
    assert b'"name":"north-agent"' in portal.requests[0].body
    assert isinstance(portal._enrolment().document, dict)
    assert Enrolment.model_validate(portal._enrolment().document).institution == "north"
