"""Which hop between this agent and its work fails: each is tried in order, and the first that fails is named.

home, DNS, TCP, TLS, portal identity, authentication, clock, version, disk, training, plugins, data. A hop that cannot be tried because
an earlier one failed is skipped, not guessed.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from clientagent import __version__
from clientagent.approval import can_train
from clientagent.home import Home, Identity
from clientagent.plugins import installed
from clientagent.policy import load_policy
from clientagent.transport import UNTRUSTED, Transport, json_of
from clientagent.wire import PROTOCOL
from clientagent.wire.errors import PortalUnreachable, Refusal
from clientagent.wire.http import MAX_AGE_S
from clientagent.wire.messages import Enrolment
from clientagent.wire.signing import Signed, open_signed, parse

Outcome = Literal["ok", "warning", "failed", "skipped"]
LITTLE_DISK_BYTES = 2**30
TIMEOUT_S = 10.0
AT_THE_PORTAL = ("portal identity", "authentication", "clock", "version")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Hop:
    """One link of the chain: how it is, and what to do where it is not well."""

    name: str
    outcome: Outcome
    detail: str
    action: str = ""


@dataclass(frozen=True)
class _Portal:
    """What one signed question to the portal brought."""

    enrolment: Enrolment
    date: str
    protocol: str


def examine(home: Home) -> Iterator[Hop]:
    """The hops in order, each as soon as it is known."""
    identity, hop = _home(home)
    yield hop
    if identity is None:
        return
    reached = True
    for name, check in (("DNS", _dns), ("TCP", _tcp), ("TLS", _tls)):
        hop = _try(name, check, identity.portal) if reached else Hop(name, "skipped", "an earlier hop failed")
        reached = reached and hop.outcome != "failed"
        yield hop
    yield from _at_the_portal(home, identity) if reached else _skipped(*AT_THE_PORTAL)
    yield _disk(home)
    yield _training()
    yield from _plugins()
    yield from _data(home)


def _skipped(*names: str) -> Iterator[Hop]:
    for name in names:
        yield Hop(name, "skipped", "an earlier hop failed")


def _try(name: str, check: Callable[[str], Hop], url: str) -> Hop:
    try:
        return check(url)
    except (OSError, ssl.SSLError) as error:
        return Hop(name, "failed", f"{type(error).__name__}: {error}", _ADVICE[name])


_ADVICE = {
    "DNS": "Check the portal's name in agent.json and this machine's name server.",
    "TCP": "Ask the network team to allow outbound connections to this host and port, or set HTTPS_PROXY.",
    "TLS": UNTRUSTED,
}


def _home(home: Home) -> tuple[Identity | None, Hop]:
    try:
        identity = home.require_identity()
        fingerprint = home.key.fingerprint
    except (Refusal, OSError) as error:
        return None, Hop("home", "failed", str(error), getattr(error, "action", "Check the folder's permissions."))
    if fingerprint != identity.key_fingerprint:
        return None, Hop("home", "failed", "key.pem is not the enrolled key", "Restore key.pem, or enrol a new home.")
    if os.name == "posix" and stat.S_IMODE(home.key_path.stat().st_mode) & 0o077:
        return identity, Hop("home", "warning", "others may read key.pem", f"chmod 600 {home.key_path}")
    return identity, Hop("home", "ok", f"{home.path}, agent of {identity.institution}")


def _hop_address(url: str) -> tuple[str, int, bool]:
    """(host, port, through a proxy): where this machine connects to in order to reach the portal."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(host):
        via = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        return via.hostname or "", via.port or 3128, True
    return host, parts.port or (443 if parts.scheme == "https" else 80), False


def _dns(url: str) -> Hop:
    host, port, proxied = _hop_address(url)
    addresses = sorted({str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    return Hop("DNS", "ok", f"{host}{' (proxy)' if proxied else ''} has the address {', '.join(addresses)}")


def _tcp(url: str) -> Hop:
    host, port, proxied = _hop_address(url)
    started = time.monotonic()
    socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    where = f"{host}:{port}{' (proxy)' if proxied else ''}"
    return Hop("TCP", "ok", f"{where} answers in {1000 * (time.monotonic() - started):.0f} ms")


def _tls(url: str) -> Hop:
    parts = urlsplit(url)
    if parts.scheme == "http":
        if parts.hostname in LOOPBACK:
            return Hop("TLS", "ok", "plain HTTP on this machine")
        return Hop("TLS", "warning", "plain HTTP: updates can be read on the way", "Use the portal's https address.")
    host, port, proxied = _hop_address(url)
    if proxied:
        return Hop("TLS", "ok", "through the proxy; judged with the next hop")
    context = httpx2.create_ssl_context()
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as raw:
        with context.wrap_socket(raw, server_hostname=host) as tls:
            issuer = dict(pair[0] for pair in (tls.getpeercert() or {}).get("issuer", ()))  # type: ignore[misc]
            by = issuer.get("organizationName") or issuer.get("commonName")
            return Hop("TLS", "ok", f"{tls.version()}, certificate by {by}")


def _at_the_portal(home: Home, identity: Identity) -> Iterator[Hop]:
    """One signed question answers four: is it our portal, does it know us, is our clock right, do we speak alike."""
    try:
        answer = _ask(home, identity)
    except Refusal as error:
        yield from _refused(error)
        return
    yield Hop("portal identity", "ok", "the answer is signed by the pinned root key")
    state = answer.enrolment.state
    yield Hop("authentication", "ok" if state == "approved" else "failed", f"this agent is {state}", _STANDING[state])
    yield _clock(answer.date)
    yield Hop("version", "ok", f"agent {__version__}, protocol {answer.protocol or PROTOCOL}")


_STANDING = {
    "approved": "",
    "pending": "Ask the administrator to compare fingerprints and approve.",
    "revoked": "Enrol a new home with a new code.",
}


def _ask(home: Home, identity: Identity) -> _Portal:
    transport = Transport(identity.portal, home.key, patience_s=0)
    try:
        response = transport.exchange("GET", f"enrolments/{identity.agent_id}")
        signed = parse(Signed, json_of(response))
        enrolment = open_signed(signed, identity.root, Enrolment)
        return _Portal(enrolment, response.headers.get("date", ""), response.headers.get("fed-protocol", ""))
    finally:
        transport.close()


def _refused(error: Refusal) -> Iterator[Hop]:
    """Which of the four hops an error speaks of; those behind it were not reached."""
    place = {
        "clock_skewed": "clock",
        "protocol_unsupported": "version",
        "portal_unreachable": "portal identity",
        "malformed": "portal identity",
    }.get(error.code, "authentication")
    if error.code == "signature_invalid" and error.expected.startswith("the key"):
        place = "portal identity"
    for name in AT_THE_PORTAL:
        if name == place:
            yield Hop(name, "failed", error.sentence, "" if isinstance(error, PortalUnreachable) else error.action)
        else:
            yield Hop(name, "skipped", f"{place} failed")


def _clock(date: str) -> Hop:
    try:
        skew = (dt.datetime.now(dt.UTC) - parsedate_to_datetime(date)).total_seconds()
    except (TypeError, ValueError):
        return Hop("clock", "ok", "accepted by the portal")
    good = abs(skew) <= MAX_AGE_S / 5
    detail = f"{skew:+.0f} s beside the portal's"
    return Hop("clock", "ok", detail) if good else Hop("clock", "warning", detail, "Set the clock by NTP.")


def _disk(home: Home) -> Hop:
    free = shutil.disk_usage(home.path).free
    writable = os.access(home.path, os.W_OK)
    if not writable:
        return Hop("disk", "failed", f"{home.path} cannot be written", "Give the agent's account this folder.")
    detail = f"{free / 2**30:.1f} GiB free"
    if free < LITTLE_DISK_BYTES:
        return Hop("disk", "warning", detail, "Models and updates need room: free at least 1 GiB.")
    return Hop("disk", "ok", detail)


def _training() -> Hop:
    if can_train():
        return Hop("training", "ok", "torch is installed")
    return Hop("training", "warning", "torch is not installed", "pip install 'fedagent[train]'")


def _plugins() -> Iterator[Hop]:
    """The models that the bank installed itself, each as a plan names it."""
    for plugin in installed():
        if plugin.hash:
            yield Hop("plugin", "ok", f"{plugin.family} ({plugin.package})")
        else:
            yield Hop("plugin", "warning", f"{plugin.name} ({plugin.package}): {plugin.problem}", "Install it as an ordinary package.")


def _data(home: Home) -> Iterator[Hop]:
    try:
        policy = load_policy(home.policy_path)
    except Refusal as error:
        yield Hop("data", "failed", error.sentence, error.action)
        return
    if not policy.data:
        action = f'Add [data."PROJECT"] with a path to {home.policy_path}.'
        yield Hop("data", "warning", "policy.toml names no table", action)
    for project in sorted(policy.data):
        path = policy.table_of(project, folder=home.path)
        if os.access(path, os.R_OK) and path.is_file():
            yield Hop("data", "ok", f"{project}: {path}, {path.stat().st_size:,} bytes")
        else:
            yield Hop("data", "failed", f"{project}: {path} cannot be read", "Correct the path, or the file's permissions.")
