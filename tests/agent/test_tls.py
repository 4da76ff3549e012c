"""TLS as at a bank: the system's trust store decides, and nothing is sent to a portal whose certificate it does not know."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clientagent import enrolment
from clientagent.doctor import examine
from clientagent.wire.canonical import canonical
from clientagent.wire.errors import PortalUnreachable
from tests.agent.given import one_bank_plan
from tests.agent.portal_double import PortalDouble


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that signs itself, and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Portal")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = tmp_path / "portal.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    return pem


@pytest.fixture
def secure(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    portal = PortalDouble(one_bank_plan(), tls=context)
    yield portal
    portal.close()


def test_a_portal_that_the_system_trusts_is_spoken_to(home, secure, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert enrolment.enrol(home, url=secure.url, code=secure.code).state == "approved"
    outcomes = {hop.name: hop.outcome for hop in examine(home)}
    assert (outcomes["TLS"], outcomes["portal identity"], outcomes["authentication"]) == ("ok", "ok", "ok")


def test_a_certificate_that_nobody_vouches_for_ends_it_before_the_code_is_sent(home, secure, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(PortalUnreachable, match=r"(?i)certificate"):
        enrolment.enrol(home, url=secure.url, code=secure.code)
    assert secure.requests == []


def test_doctor_says_that_it_is_the_certificate(home, portal, secure):
    enrolment.enrol(home, url=portal.url, code=portal.code)
    identity = home.require_identity().model_copy(update={"portal": secure.url})
    (home.path / "agent.json").write_bytes(canonical(identity))
    hops = {hop.name: hop for hop in examine(home)}
    assert (hops["TCP"].outcome, hops["TLS"].outcome, hops["authentication"].outcome) == ("ok", "failed", "skipped")
    assert "trust store" in hops["TLS"].action
