"""Who an agent's request comes from. One query finds key, agent and institution, so that revoking takes effect at once."""

from __future__ import annotations

import datetime as dt
import functools
import re
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.cache import caches
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from audit.context import speak_of
from clientagent.wire import PROTOCOL
from clientagent.wire.errors import (
    AgentNotApproved,
    AgentRevoked,
    InstitutionSuspended,
    KeyUnknown,
    ProtocolUnsupported,
    Refusal,
    SignatureInvalid,
    TooLarge,
    Truncated,
)
from clientagent.wire.http import VerifiedRequest, key_id_of, verify_request
from clientagent.wire.signing import PublicKey
from institutions import presence
from institutions.models import Agent, AgentKey
from institutions.noise import address_of, count_knock, refuse_noisy, remember_good_key
from institutions.problems import problem_response

NONCE_KEPT_S = 600
"""Twice the age at which a request expires: a clock may be off by that in either direction."""
OLDEST_PROTOCOL = max(1, PROTOCOL - 1)
_USER_AGENT = re.compile(r"^fedagent/([0-9A-Za-z.+-]{1,40})")


@dataclass(frozen=True)
class AgentIdentity:
    """The agent behind a verified request. ``seen`` is ``chain;seq;hash`` of the last head it knows, or empty."""

    agent_id: uuid.UUID
    institution_id: int
    institution_slug: str
    key_id: int
    key_fingerprint: str
    public_key: PublicKey
    seen: str
    protocol: int

    @property
    def actor(self) -> str:
        return f"agent:{self.agent_id}"

    # what DRF asks of request.user
    is_authenticated = True
    is_active = True


def is_fresh_nonce(key_id: str, nonce: str) -> bool:
    """True once for each nonce of a key within the time that a signature lives."""
    return bool(caches["nonces"].add(f"{key_id}:{nonce}", 1, NONCE_KEPT_S))


def signed_url(request: HttpRequest) -> str:
    """The address as its bytes came. The host is not covered by signatures, so any will do."""
    scope = getattr(request, "scope", None)
    if scope and scope.get("raw_path"):
        query = scope.get("query_string", b"").decode("ascii", "replace")
        return "http://portal" + scope["raw_path"].decode("ascii", "replace") + (f"?{query}" if query else "")
    return "http://portal" + request.get_full_path()


def body_of(request: HttpRequest) -> bytes:
    """The whole body, bounded by DATA_UPLOAD_MAX_MEMORY_SIZE. Raises ``TooLarge`` or ``Truncated``."""
    try:
        return request.body
    except RequestDataTooBig as error:
        raise TooLarge(expected="at most 9 MiB in one request", got=request.META.get("CONTENT_LENGTH", "?")) from error
    except (UnreadablePostError, OSError) as error:
        raise Truncated(expected="a whole body", got="a connection that broke") from error


async def chunks_of(request: HttpRequest) -> AsyncIterator[bytes]:
    """The body as it comes in, where the server hands it over so; else all at once."""
    if (incoming := getattr(request, "incoming", None)) is None:
        yield request.body
        return
    async for chunk in incoming:
        yield chunk


def verify_signature(request: HttpRequest, key: PublicKey, *, now: dt.datetime | None = None) -> VerifiedRequest:
    """Signature, digest, age and nonce of this request under this key; a body that is on its way is left to the view."""
    return verify_request(
        method=request.method or "", url=signed_url(request), headers=request.headers, key=key, now=now or timezone.now(),
        body=None if hasattr(request, "incoming") else body_of(request), is_fresh_nonce=is_fresh_nonce,
    )


def authenticate_agent(request: HttpRequest, *, now: dt.datetime | None = None) -> AgentIdentity:
    """The approved agent that signed this request.

    Raises ``SignatureInvalid``, ``KeyUnknown``, ``ClockSkewed``, ``Replayed``, ``AgentNotApproved``, ``AgentRevoked``,
    ``InstitutionSuspended``, ``ProtocolUnsupported``, ``TooLarge``, ``Truncated`` or ``TooManyRequests``.
    """
    now = now or timezone.now()
    key, verified = known_signer(request, now=now)
    _require_standing(key)
    if not OLDEST_PROTOCOL <= verified.protocol <= PROTOCOL:
        raise ProtocolUnsupported(expected=f"protocol {OLDEST_PROTOCOL} to {PROTOCOL}", got=str(verified.protocol))
    _note_presence(key.agent, verified, _version_in(request), now)
    speak_of(institution=key.agent.institution.slug)
    return AgentIdentity(
        agent_id=key.agent_id, institution_id=key.agent.institution_id, institution_slug=key.agent.institution.slug,
        key_id=key.pk, key_fingerprint=key.fingerprint, public_key=key.key, seen=verified.seen,
        protocol=verified.protocol,
    )


def known_signer(request: HttpRequest, *, now: dt.datetime | None = None) -> tuple[AgentKey, VerifiedRequest]:
    """The enrolled key that signed this request, whatever its standing. Strangers are counted, and bounded."""
    address = address_of(request)
    try:
        key_id = _claimed_key(request)
        refuse_noisy(address, key_id=key_id)
        if not key_id:
            raise SignatureInvalid(expected="a signed request (RFC 9421)", got="no signature")
        key = AgentKey.objects.select_related("agent__institution").filter(fingerprint=key_id).first()
        if key is None:
            raise KeyUnknown(expected="the key of an enrolled agent", got=key_id[:64])
        verified = verify_signature(request, key.key, now=now)
    except Refusal as refusal:
        count_knock(address, refusal)
        raise
    return key, verified


def _claimed_key(request: HttpRequest) -> str:
    try:
        return key_id_of(request.headers)
    except SignatureInvalid:
        return ""


def _require_standing(key: AgentKey) -> None:
    agent = key.agent
    if key.state == AgentKey.State.REVOKED or agent.state == Agent.State.REVOKED:
        raise AgentRevoked(expected="a valid key", got=f"{key.short_fingerprint}, which was revoked")
    if key.state != AgentKey.State.ACTIVE or agent.state != Agent.State.APPROVED:
        raise AgentNotApproved(expected="an approved agent", got=f"{agent.name}, which is waiting")
    if agent.institution.is_suspended:
        raise InstitutionSuspended(expected="an institution that takes part", got=agent.institution.slug)


def _version_in(request: HttpRequest) -> str:
    match = _USER_AGENT.match(request.headers.get("User-Agent", ""))
    return match.group(1) if match else ""


def _note_presence(agent: Agent, verified: VerifiedRequest, version: str, now: dt.datetime) -> None:
    if presence.is_noted(agent, now=now):
        return
    remember_good_key(verified.key_id)
    presence.note(
        agent, now=now, clock_skew_s=verified.created - int(now.timestamp()), protocol=verified.protocol,
        version=version or agent.version,
    )


# ------------------------------------------------------------------ doors
View = TypeVar("View", bound=Callable[..., Any])


def agent_view(view: View) -> Callable[..., Any]:
    """A plain view, sync or async, for signed requests of approved agents: sets ``request.agent_identity``.

    Every ``Refusal``, of the signature or of the view, becomes its answer. The body is read once, bounded, and stays
    at ``request.body``.
    """
    if iscoroutinefunction(view):

        @functools.wraps(view)
        async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                request.agent_identity = await sync_to_async(authenticate_agent)(request)  # type: ignore[attr-defined]
                return await view(request, *args, **kwargs)
            except Refusal as refusal:
                return problem_response(refusal)

        return cast(View, markcoroutinefunction(csrf_exempt(guarded_async)))

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            request.agent_identity = authenticate_agent(request)  # type: ignore[attr-defined]
            return view(request, *args, **kwargs)
        except Refusal as refusal:
            return problem_response(refusal)

    return cast(View, csrf_exempt(guarded))


class AgentAuthentication(BaseAuthentication):
    """The same for DRF views: ``request.user`` is the ``AgentIdentity``, as is ``request._request.agent_identity``."""

    def authenticate(self, request: Request) -> tuple[AgentIdentity, None] | None:
        identity = authenticate_agent(request._request)
        request._request.agent_identity = identity  # type: ignore[attr-defined]
        return identity, None

    def authenticate_header(self, request: Request) -> str:
        return 'Signature realm="fedportal"'
