"""How an agent comes to speak for its bank, and how it stops: codes, enrolment, approval, revocation."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.utils import timezone

from clientagent.wire.errors import EnrolmentCodeInvalid, IllegalMove, InstitutionSuspended
from clientagent.wire.signing import PublicKey
from institutions.models import Agent, AgentKey, EnrolmentCode, Institution, User
from institutions.portal_key import portal_key
from institutions.services.codes import make_secret, secret_hash
from institutions.services.institution import welcome
from institutions.services.ledger import record

CODE_VALID = dt.timedelta(hours=24)


@dataclass(frozen=True)
class IssuedCode:
    """The code as it is shown once, and the row that remembers its hash."""

    code: str
    row: EnrolmentCode


@transaction.atomic(durable=True)
def issue_enrolment_code(
    *, institution: Institution, by: User | str, valid_for: dt.timedelta = CODE_VALID
) -> IssuedCode:
    """A code ``SECRET.FP``: FP is the start of the root key's fingerprint, by which the agent knows this portal."""
    institution.refresh_from_db()
    if institution.is_suspended:
        raise InstitutionSuspended(expected="an institution that takes part", got=institution.slug)
    code = f"{make_secret()}.{portal_key().fingerprint[:32]}"
    row = EnrolmentCode.objects.create(
        institution=institution, secret_hash=secret_hash(code), expires_at=timezone.now() + valid_for,
        created_by=by if isinstance(by, User) else None,
    )
    record("enrolment_code_issued", by=by, institution=institution.slug, code=row.pk)
    return IssuedCode(code, row)


def code_is_known(code: str) -> bool:
    """Whether such a code was ever issued: asked before any signature of a stranger is computed."""
    return EnrolmentCode.objects.filter(secret_hash=secret_hash(code)).exists()


@transaction.atomic(durable=True)
def enrol_agent(*, code: str, key: PublicKey, name: str, version: str) -> Agent:
    """The agent that introduces itself with this code, ``pending``. The caller has checked that it holds the key.

    Sending the same key and code again answers with the same agent. Raises ``EnrolmentCodeInvalid``,
    ``InstitutionSuspended`` or ``IllegalMove`` (a key that is known already).
    """
    row = EnrolmentCode.objects.select_related("institution").filter(secret_hash=secret_hash(code)).first()
    if row is None:
        raise EnrolmentCodeInvalid(expected="a code that was issued here", got="an unknown code")
    if same := Agent.objects.filter(enrolment_code=row, keys__fingerprint=key.fingerprint).first():
        return same
    _use(row)
    if row.institution.is_suspended:
        raise InstitutionSuspended(expected="an institution that takes part", got=row.institution.slug)
    agent = Agent.objects.create(institution=row.institution, name=name, version=version, enrolment_code=row)
    try:
        with transaction.atomic():
            AgentKey.objects.create(agent=agent, public_key=key.text, fingerprint=key.fingerprint)
    except IntegrityError as error:
        raise IllegalMove(
            expected="a new key", got="a key that was enrolled before", action="Enrol from a new agent home."
        ) from error
    record(
        "agent_enrolled", by=agent.actor, institution=row.institution.slug, agent=str(agent.pk), name=name,
        key_fingerprint=key.fingerprint, public_key=key.text, code=row.pk,
    )
    return agent


def _use(row: EnrolmentCode) -> None:
    """Spend the code. Of two agents with one code the database lets one through."""
    now = timezone.now()
    if EnrolmentCode.objects.filter(pk=row.pk, used_at=None, expires_at__gt=now).update(used_at=now):
        return
    got = "a code that has expired" if row.used_at is None and row.expires_at <= now else "a code that was used"
    raise EnrolmentCodeInvalid(expected="an unused code that is still valid", got=got)


@transaction.atomic(durable=True)
def approve_agent(*, agent: Agent, fingerprint: str, by: User | str) -> Agent:
    """The administrator has compared this fingerprint with the bank's. Raises ``IllegalMove``."""
    now = timezone.now()
    key = agent.keys.filter(fingerprint=fingerprint, state=AgentKey.State.PENDING).first()
    if key is None:
        raise IllegalMove(expected="the fingerprint of this agent's waiting key", got=fingerprint[:32] or "nothing")
    approver = by if isinstance(by, User) else None
    _move_agent(agent, was=[Agent.State.PENDING], to=Agent.State.APPROVED, approved_at=now, approved_by=approver)
    agent.keys.filter(pk=key.pk).update(state=AgentKey.State.ACTIVE)
    welcome(agent.institution)
    record(
        "agent_approved", by=by, institution=agent.institution.slug, agent=str(agent.pk),
        key_fingerprint=key.fingerprint, public_key=key.public_key,
    )
    return agent


@transaction.atomic(durable=True)
def refuse_agent(*, agent: Agent, by: User, reason: str) -> Agent:
    """A waiting agent is not let in; its key never works. Raises ``IllegalMove``."""
    _move_agent(agent, was=[Agent.State.PENDING], to=Agent.State.REVOKED)
    agent.keys.update(state=AgentKey.State.REVOKED, revoked_at=timezone.now(), reason=reason)
    record("agent_refused", by=by, institution=agent.institution.slug, agent=str(agent.pk), reason=reason)
    return agent


@transaction.atomic(durable=True)
def revoke_key(*, key: AgentKey, by: User | str, reason: str) -> AgentKey:
    """From the next request on this key is refused; an agent without another key is revoked with it."""
    now = timezone.now()
    alive = [AgentKey.State.PENDING, AgentKey.State.ACTIVE]
    if not AgentKey.objects.filter(pk=key.pk, state__in=alive).update(
        state=AgentKey.State.REVOKED, revoked_at=now, reason=reason
    ):
        raise IllegalMove(expected="a key that is not revoked", got="a revoked key")
    agent = key.agent
    if not agent.keys.filter(state__in=alive).exists():
        _move_agent(agent, was=[Agent.State.PENDING, Agent.State.APPROVED], to=Agent.State.REVOKED)
    key.refresh_from_db()
    record(
        "key_revoked", by=by, institution=agent.institution.slug, agent=str(agent.pk),
        key_fingerprint=key.fingerprint, reason=reason,
    )
    return key


def _move_agent(agent: Agent, *, was: list[Agent.State], to: Agent.State, **more: object) -> None:
    if not Agent.objects.filter(pk=agent.pk, state__in=was).update(state=to, **more):
        raise IllegalMove(expected=" or ".join(was), got=Agent.objects.get(pk=agent.pk).state)
    agent.refresh_from_db()
