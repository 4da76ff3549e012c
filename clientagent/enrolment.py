"""How this agent comes to speak for its bank: a key made here, a code from the administrator, a portal whose key is pinned.

A code is ``SECRET.FP``. FP is the start of the fingerprint of the portal's root key, so whoever sits in between, even with
a valid TLS certificate, cannot pass off another key as the portal's.
"""

from __future__ import annotations

import socket
import time

from clientagent import __version__, portal
from clientagent.files import write_atomic
from clientagent.home import Home, Identity
from clientagent.policy import TEMPLATE
from clientagent.portal import Portal
from clientagent.transport import Transport
from clientagent.wire.errors import AgentRevoked, EnrolmentCodeInvalid, IllegalMove, PortalKeyMismatch
from clientagent.wire.messages import Enrolment, EnrolmentRequest
from clientagent.wire.signing import PublicKey, Signed, open_signed, parse

FINGERPRINT_DIGITS = 32
LOOK_EVERY_S = 2.0


def enrol(home: Home, *, url: str, code: str, name: str = "") -> Identity:
    """Introduce this agent and pin the portal. Tried again after a broken connection, it finds the same key.

    Raises ``EnrolmentCodeInvalid``, ``PortalKeyMismatch``, ``IllegalMove`` for a home that is enrolled already, or
    ``PortalUnreachable``.
    """
    if (known := home.identity) is not None:
        raise IllegalMove(
            expected="a home that is not enrolled yet", got=f"{home.path}, enrolled at {known.portal} for {known.institution}",
            action="Use it as it is, or enrol a second agent with another --home.",
        )
    start = _fingerprint_in(code)
    key = home.make_key()
    name = name or socket.gethostname() or "agent"
    request = EnrolmentRequest(code=code, public_key=key.public.text, name=name[:100], agent_version=__version__)
    transport = Transport(url, key)
    try:
        enrolment = _open(portal.enrol(transport, request), start)
    finally:
        transport.close()
    if enrolment.key_fingerprint != key.fingerprint:
        raise PortalKeyMismatch(expected=f"an enrolment of our key {key.fingerprint}", got=enrolment.key_fingerprint)
    if not home.policy_path.exists():
        write_atomic(home.policy_path, TEMPLATE.encode())
    return home.remember(enrolment, portal=transport.url, name=name)


def wait_for_approval(home: Home) -> Identity:
    """Ask until the administrator has decided. Raises ``AgentRevoked`` for a no."""
    while True:
        identity = refresh(home)
        if identity.state == "approved":
            return identity
        if identity.state == "revoked":
            raise AgentRevoked(expected="an approval", got="a refusal by the administrator")
        time.sleep(LOOK_EVERY_S)


def refresh(home: Home) -> Identity:
    """Where this agent stands, asked from the portal and noted."""
    identity = home.require_identity()
    transport = Transport(identity.portal, home.key)
    try:
        return home.remember(Portal(transport, home).enrolment(), portal=identity.portal, name=identity.name)
    finally:
        transport.close()


def _fingerprint_in(code: str) -> str:
    secret, dot, start = code.strip().rpartition(".")
    start = start.lower()
    if not (dot and secret and len(start) >= FINGERPRINT_DIGITS and all(digit in "0123456789abcdef" for digit in start)):
        raise EnrolmentCodeInvalid(
            expected="SECRET.FINGERPRINT, as the portal shows it", got="another form", action="Copy the whole code, with the dot."
        )
    return start


def _open(signed: Signed, start: str) -> Enrolment:
    """The answer, if it is signed by the root key whose fingerprint the code carries."""
    claimed = PublicKey.from_text(parse(Enrolment, signed.document).root_key)
    if not claimed.fingerprint.startswith(start):
        raise PortalKeyMismatch(expected=f"a root key that starts with {start}", got=claimed.fingerprint[:FINGERPRINT_DIGITS])
    return open_signed(signed, claimed, Enrolment)
