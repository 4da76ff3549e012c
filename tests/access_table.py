"""Who may open which address. Every named URL of the site stands here, or a test fails.

A row says who may GET it, who may POST it, and how its address is made. Its arguments are always north's, so ``OWN`` is
north's operator and ``OTHER`` is south's. Whoever may not is sent to sign in (a stranger) or gets 403 or 404; a bank
that is not the address's own gets 404 wherever the own bank is let in. To add a page: one line in the table of its room.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from institutions import services
from institutions.models import Membership, Role, User
from rounds.models import PrivacyAccount, Run
from tests.cast import Bank, make_bank, make_pending_agent
from tests.rounds.scripted import make_federation


class Reader(StrEnum):
    STRANGER = "stranger"
    ADMIN = "admin"
    AUDITOR = "auditor"
    OWN = "own"
    OTHER = "other"


STRANGER, ADMIN, AUDITOR, OWN, OTHER = Reader
NOBODY: frozenset[Reader] = frozenset()
ADMINS = frozenset({ADMIN})
OVERSEERS = frozenset({ADMIN, AUDITOR})
OPERATORS = frozenset({OWN, OTHER})
PARTY = OVERSEERS | {OWN}
MEMBERS = PARTY | {OTHER}
EVERYONE = MEMBERS | {STRANGER}


@dataclass
class Cast:
    """Who is there when an address is made, and a run of north's with one published round, in which south has no part."""

    north: Bank
    south: Bank
    admin: User
    auditor: User

    def user(self, reader: Reader) -> User | None:
        people = {ADMIN: self.admin, AUDITOR: self.auditor, OWN: self.north.operator, OTHER: self.south.operator}
        return people.get(reader)

    @cached_property
    def run(self) -> Run:
        others = [make_bank(slug, by=self.admin) for slug in ("east", "west")]
        federation = make_federation([self.north, *others], self.admin)
        federation.begin()
        return federation.round()


@dataclass(frozen=True)
class Access:
    """``get`` and ``post``: who may. ``args``: the address's arguments, made from the cast."""

    get: frozenset[Reader]
    post: frozenset[Reader] = NOBODY
    args: Callable[[Cast], dict[str, Any]] = lambda cast: {}


def _slug(cast: Cast) -> dict[str, Any]:
    return {"slug": cast.north.slug}


def _agent(cast: Cast) -> dict[str, Any]:
    return {"agent_id": cast.north.agent.pk}


def _waiting_agent(cast: Cast) -> dict[str, Any]:
    return {"agent_id": make_pending_agent(cast.north.institution, by=cast.admin)[0].pk}


def _key(cast: Cast) -> dict[str, Any]:
    return {"fingerprint": cast.north.key.fingerprint}


def _member(cast: Cast) -> dict[str, Any]:
    return {"pk": Membership.objects.get(user=cast.north.operator).pk}


def _account(cast: Cast) -> int:
    """A locked privacy ledger of north's, from which the run has spent."""
    account = PrivacyAccount.objects.create(
        institution=cast.north.institution, subject="retail", hash="0" * 64, locked={"expected": "entry 3", "got": "entry 1"}
    )
    account.releases.create(run=cast.run, round=1, release="a" * 64, event={}, run_epsilon=1.0, at=cast.run.created_at)
    return account.pk


def _invitation(cast: Cast) -> dict[str, Any]:
    issued = services.invite_person(
        email="new@north.example", role=Role.OPERATOR, by=cast.admin, institution=cast.north.institution
    )
    return {"pk": issued.row.pk}


def _token(cast: Cast) -> dict[str, Any]:
    issued = services.invite_person(email="new@consortium.example", role=Role.AUDITOR, by=cast.admin)
    return {"token": issued.token}


SITE = {
    "healthz": Access(EVERYONE, EVERYONE),
    "readyz": Access(EVERYONE, EVERYONE),
    "metrics": Access(EVERYONE),  # from the machine itself, as the test client is; others need the token
    "set_language": Access(EVERYONE, EVERYONE),
    "api-schema": Access(MEMBERS),
    "api-docs": Access(MEMBERS),
    "agent-wheel": Access(NOBODY, args=lambda cast: {"name": "fedagent-0-none.whl"}),
}
ACCOUNTS = {
    "account_login": Access(EVERYONE, EVERYONE),
    "account_logout": Access(EVERYONE, EVERYONE),
    "account_inactive": Access(EVERYONE),
    "account_signup": Access(EVERYONE, EVERYONE),
    "account_reset_password": Access(EVERYONE, EVERYONE),
    "account_reset_password_done": Access(EVERYONE),
    "account_reset_password_from_key": Access(EVERYONE, EVERYONE, lambda cast: {"uidb36": "1", "key": "none"}),
    "account_reset_password_from_key_done": Access(EVERYONE),
    "account_email": Access(EVERYONE, EVERYONE),
    "account_set_password": Access(EVERYONE, EVERYONE),
    "account_reauthenticate": Access(MEMBERS, MEMBERS),
    "account_change_password": Access(MEMBERS, MEMBERS),
    "mfa_index": Access(MEMBERS),
    "mfa_authenticate": Access(MEMBERS, MEMBERS),  # sends a member home; a stranger without a sign-in under way, to sign in
    "mfa_reauthenticate": Access(MEMBERS, MEMBERS),
    "mfa_activate_totp": Access(MEMBERS, MEMBERS),
    "mfa_deactivate_totp": Access(NOBODY, MEMBERS),  # there is none yet
    "mfa_view_recovery_codes": Access(NOBODY),
    "mfa_generate_recovery_codes": Access(MEMBERS, MEMBERS),
    "mfa_download_recovery_codes": Access(NOBODY),
}
INSTITUTIONS = {
    "institutions:list": Access(MEMBERS),
    "institutions:mine": Access(OPERATORS),
    "institutions:invite": Access(ADMINS, ADMINS),
    "institutions:detail": Access(PARTY, args=_slug),
    "institutions:suspend": Access(ADMINS, ADMINS, _slug),
    "institutions:reinstate": Access(ADMINS, ADMINS, _slug),
    "institutions:code": Access(frozenset({ADMIN, OWN}), frozenset({ADMIN, OWN}), _slug),
    "institutions:agent": Access(PARTY, ADMINS, _waiting_agent),
    "institutions:refuse": Access(ADMINS, ADMINS, _waiting_agent),
    "institutions:revoke": Access(frozenset({ADMIN, OWN}), frozenset({ADMIN, OWN}), _key),
    "institutions:people": Access(OVERSEERS),
    "institutions:invite-person": Access(ADMINS, ADMINS),
    "institutions:withdraw": Access(ADMINS, ADMINS, _invitation),
    "institutions:role": Access(ADMINS, ADMINS, _member),
    "institutions:remove": Access(ADMINS, ADMINS, _member),
    "institutions:accept": Access(EVERYONE, EVERYONE, _token),
    # agents' doors: no browser gets in, whoever has signed in to it
    "api-enrolments": Access(NOBODY),
    "api-enrolment": Access(NOBODY, args=_agent),
}


def _plan(cast: Cast) -> dict[str, Any]:
    return {"plan_hash": cast.run.plan.hash}


def _project(cast: Cast) -> dict[str, Any]:
    return {"slug": cast.run.plan.project.slug}


def _run(cast: Cast) -> dict[str, Any]:
    return {"run_id": cast.run.pk}


def _numbered(cast: Cast) -> dict[str, Any]:
    return {"run_id": cast.run.pk, "number": 1}


def _chain(cast: Cast) -> dict[str, Any]:
    return {"chain": cast.run.chain}


def _receipt(cast: Cast) -> dict[str, Any]:
    return {"receipt_id": cast.run.receipts.filter(institution=cast.north.institution, subject="update").get().pk}


_ID = str(uuid.UUID(int=0))
ROUNDS = {
    "rounds:home": Access(MEMBERS),
    "rounds:search": Access(MEMBERS),
    "rounds:receipts": Access(OPERATORS),
    "rounds:receipt": Access(PARTY, args=_receipt),
    "rounds:privacy": Access(MEMBERS),
    "rounds:run-privacy": Access(PARTY, args=_run),
    "rounds:projects": Access(MEMBERS),
    "rounds:project-new": Access(ADMINS, ADMINS),
    "rounds:project": Access(PARTY, args=_project),
    "rounds:plan-new": Access(ADMINS, ADMINS, _project),
    "rounds:plan": Access(PARTY, args=_plan),
    "rounds:plan-approve": Access(NOBODY, frozenset({OWN}), _plan),
    "rounds:plan-leakage": Access(PARTY, args=_plan),
    "rounds:plan-leakage-attach": Access(NOBODY, ADMINS | {OWN}, _plan),
    "rounds:plan-rehearsals": Access(PARTY, args=_plan),
    "rounds:plan-rehearsal-attach": Access(NOBODY, ADMINS | {OWN}, _plan),
    "rounds:plan-yaml": Access(PARTY, args=_plan),
    "rounds:plan-start": Access(NOBODY, ADMINS, _plan),
    "rounds:runs": Access(MEMBERS),
    "rounds:run": Access(PARTY, args=_run),
    "rounds:run-action": Access(NOBODY, ADMINS, lambda cast: {"run_id": cast.run.pk, "action": "pause"}),
    "rounds:run-history-json": Access(OVERSEERS, args=_run),
    "rounds:run-history-csv": Access(OVERSEERS, args=_run),
    "rounds:round": Access(PARTY, args=_numbered),
    "rounds:version": Access(PARTY, args=_numbered),
    "rounds:card": Access(PARTY, args=_numbered),
    "rounds:bundle": Access(PARTY, args=_numbered),
    "rounds:version-move": Access(NOBODY, ADMINS, lambda cast: _numbered(cast) | {"move": "register"}),
    "rounds:project-budget": Access(ADMINS, ADMINS, _project),
    "rounds:privacy-reconcile": Access(NOBODY, ADMINS, lambda cast: _project(cast) | {"account": _account(cast)}),
    "rounds:registry": Access(PARTY, args=_project),
    "rounds:rollback": Access(NOBODY, ADMINS, _project),
    "rounds:evaluation": Access(PARTY, args=_numbered),
    "rounds:features": Access(PARTY, args=_numbered),
    "rounds:features-csv": Access(PARTY, args=_numbered),
    "rounds:weights": Access(PARTY, args=_numbered),
    "rounds:compare": Access(MEMBERS),
    "rounds:history": Access(OVERSEERS),
    "rounds:history-csv": Access(OVERSEERS),
    "rounds:ledger": Access(OVERSEERS),
    "rounds:chain": Access(OVERSEERS, args=_chain),
    "rounds:verify": Access(NOBODY, OVERSEERS, _chain),  # recomputes, changes nothing
    "rounds:entry": Access(PARTY, args=lambda cast: {"chain": cast.run.chain, "seq": 1}),
    # agents' doors
    "api-work": Access(NOBODY),
    "api-plan": Access(NOBODY, args=_plan),
    "api-decisions": Access(NOBODY, args=_plan),
    "api-privacy": Access(NOBODY),
    "api-privacy-ledgers": Access(NOBODY),
    "api-statistics": Access(NOBODY),
    "api-manifest": Access(NOBODY, args=_run),
    "api-history": Access(OVERSEERS, args=_run),
    "api-appraisals": Access(NOBODY, args=_run),
    "api-acknowledgements": Access(NOBODY, args=_run),
    "api-model": Access(NOBODY, args=_numbered),
    "api-version-move": Access(NOBODY, ADMINS, lambda cast: _numbered(cast) | {"move": "register"}),
    "api-registry": Access(PARTY, args=_project),
    "api-champion": Access(PARTY, args=_project),
    "api-rollback": Access(NOBODY, ADMINS, _project),
    "api-version-evaluation": Access(PARTY, args=_numbered),
    "api-state": Access(NOBODY, args=_numbered),
    "api-delta": Access(NOBODY, args=_numbered),
    "api-progress": Access(NOBODY),
    "api-updates": Access(NOBODY),
    "api-ready": Access(NOBODY),
    "api-cohort-messages": Access(NOBODY, args=lambda cast: {"rid": "0" * 64}),
    "api-cohort-vector": Access(NOBODY, args=lambda cast: {"rid": "0" * 64}),
    "api-uploads": Access(NOBODY),
    "api-part": Access(NOBODY, args=lambda cast: {"upload_id": _ID, "number": 0}),
    "api-complete": Access(NOBODY, args=lambda cast: {"upload_id": _ID}),
    "api-evaluations": Access(NOBODY),
    "api-receipt": Access(NOBODY, args=lambda cast: {"receipt_id": _ID}),
    "api-refusals": Access(NOBODY),
}
ROOMS = {"site": SITE, "accounts": ACCOUNTS, "institutions": INSTITUTIONS, "rounds": ROUNDS}
TABLE: dict[str, Access] = {name: access for room in ROOMS.values() for name, access in room.items()}
