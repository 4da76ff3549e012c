"""The standing cast: two banks that take part, one that does not, an administrator and an auditor.

They are made by the services themselves, so that whatever a test sees of them could have happened.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from django.http import HttpResponse
from django.test import Client

from clientagent.wire.http import sign_request
from clientagent.wire.signing import PrivateKey
from institutions import services
from institutions.models import Agent, Institution, Role, User

PASSWORD = "correct horse battery staple"


def browser(user: User | None) -> Client:
    """A browser in which this person is signed in, or nobody."""
    client = Client()
    if user:
        client.force_login(user)
    return client


@dataclass
class Bank:
    """An institution, its operator, and its approved agent with the private key that only the bank has."""

    institution: Institution
    operator: User
    agent: Agent
    key: PrivateKey
    seen: str = field(default="")

    @property
    def slug(self) -> str:
        return self.institution.slug

    def browser(self) -> Client:
        return browser(self.operator)

    def call(
        self, method: str, path: str, body: bytes = b"", *, content_type: str = "application/json",
        now: dt.datetime | None = None, headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """A request of the agent, signed as the agent signs. ``headers`` replace signed ones, as a forger would."""
        signed = sign_request(
            method=method, url=f"http://testserver{path}", body=body, key=self.key, now=now or dt.datetime.now(dt.UTC),
            seen=self.seen,
        )
        return Client().generic(method, path, body, content_type=content_type, headers={**signed, **(headers or {})})

    def get(self, path: str) -> HttpResponse:
        return self.call("GET", path)

    def post(self, path: str, body: bytes = b"", *, content_type: str = "application/json") -> HttpResponse:
        return self.call("POST", path, body, content_type=content_type)


def make_person(email: str, role: Role, *, by: User | str, institution: Institution | None = None) -> User:
    issued = services.invite_person(email=email, role=role, by=by, institution=institution)
    return services.accept_invitation(token=issued.token, name=email.split("@")[0].title(), password=PASSWORD)


def make_pending_agent(institution: Institution, *, by: User | str, name: str = "agent") -> tuple[Agent, PrivateKey]:
    issued = services.issue_enrolment_code(institution=institution, by=by)
    key = PrivateKey.generate()
    return services.enrol_agent(code=issued.code, key=key.public, name=name, version="1.0.0"), key


def make_bank(slug: str, *, by: User) -> Bank:
    """A bank that takes part: invited, with an operator and an approved agent."""
    institution = services.invite_institution(slug=slug, name=f"{slug.title()} Bank", by=by)
    operator = make_person(f"operator@{slug}.example", Role.OPERATOR, by=by, institution=institution)
    agent, key = make_pending_agent(institution, by=by, name=f"{slug}-agent")
    agent = services.approve_agent(agent=agent, fingerprint=key.fingerprint, by=by)
    institution.refresh_from_db()
    return Bank(institution, operator, agent, key)


@pytest.fixture
def admin(db: None) -> User:
    return services.create_administrator(email="admin@consortium.example", password=PASSWORD, name="Ada")


@pytest.fixture
def auditor(admin: User) -> User:
    return make_person("auditor@consortium.example", Role.AUDITOR, by=admin)


@pytest.fixture
def north(admin: User) -> Bank:
    return make_bank("north", by=admin)


@pytest.fixture
def south(admin: User) -> Bank:
    return make_bank("south", by=admin)


@pytest.fixture
def outsider(admin: User) -> Bank:
    """A bank of the consortium that is in none of the others' projects."""
    return make_bank("outsider", by=admin)
