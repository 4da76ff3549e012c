"""An agent comes to speak for its bank: one code, one key, one administrator who compares fingerprints."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit.models import Entry
from clientagent.wire.canonical import canonical
from clientagent.wire.errors import EnrolmentCodeInvalid, IllegalMove, InstitutionSuspended, Refusal
from clientagent.wire.http import sign_request
from clientagent.wire.messages import Enrolment, EnrolmentRequest
from clientagent.wire.signing import PrivateKey, open_signed
from institutions import services
from institutions.models import Agent, AgentKey, EnrolmentCode, Institution, User
from institutions.portal_key import portal_key
from tests.cast import Bank, make_pending_agent

PATH = "/api/v1/enrolments"


@pytest.fixture
def bank(admin: User) -> Institution:
    return services.invite_institution(slug="harbour", name="Harbour Bank", by=admin)


def introduce(code: str, key: PrivateKey, *, signer: PrivateKey | None = None, name: str = "blade-1") -> tuple[int, dict]:
    """What ``fedagent enrol`` sends, and the portal's answer."""
    request = EnrolmentRequest(code=code, public_key=key.public.text, name=name, agent_version="1.2.3")
    body, now = canonical(request), dt.datetime.now(dt.UTC)
    headers = sign_request(method="POST", url=f"http://testserver{PATH}", body=body, key=signer or key, now=now)
    response = Client().generic("POST", PATH, body, content_type="application/json", headers=headers)
    return response.status_code, response.json()


def test_a_code_lets_one_agent_introduce_itself(bank: Institution, admin: User) -> None:
    issued, key = services.issue_enrolment_code(institution=bank, by=admin), PrivateKey.generate()
    status, answer = introduce(issued.code, key)
    enrolment = open_signed(answer, portal_key().public, Enrolment)
    assert status == 201
    assert (enrolment.institution, enrolment.state) == ("harbour", "pending")
    assert enrolment.key_fingerprint == key.fingerprint
    assert enrolment.root_key == portal_key().public.text


def test_a_code_carries_the_root_keys_fingerprint_and_at_least_80_bits(bank: Institution, admin: User) -> None:
    code = services.issue_enrolment_code(institution=bank, by=admin).code
    secret, fingerprint = code.split(".")
    assert fingerprint == portal_key().fingerprint[:32]
    assert 5 * len(secret.replace("-", "")) >= 80
    assert not EnrolmentCode.objects.filter(secret_hash__contains=secret[:5]).exists()


@pytest.mark.parametrize("typed", [str.lower, lambda c: c.replace("-", ""), lambda c: c.split(".")[0]])
def test_a_code_may_be_typed_in_any_case_without_hyphens_or_fingerprint(bank: Institution, admin: User, typed) -> None:  # type: ignore[no-untyped-def]
    issued = services.issue_enrolment_code(institution=bank, by=admin)
    assert introduce(typed(issued.code), PrivateKey.generate())[0] == 201


def test_a_code_works_once(bank: Institution, admin: User) -> None:
    issued = services.issue_enrolment_code(institution=bank, by=admin)
    introduce(issued.code, PrivateKey.generate())
    status, answer = introduce(issued.code, PrivateKey.generate())
    assert (status, answer["code"], answer["got"]) == (403, "enrolment_code_invalid", "a code that was used")
    assert Agent.objects.count() == 1


def test_the_same_key_and_code_again_get_the_same_agent(bank: Institution, admin: User) -> None:
    issued, key = services.issue_enrolment_code(institution=bank, by=admin), PrivateKey.generate()
    first, second = introduce(issued.code, key)[1], introduce(issued.code, key)[1]
    assert first["document"]["agent_id"] == second["document"]["agent_id"]
    assert Agent.objects.count() == 1


def test_a_code_expires(bank: Institution, admin: User) -> None:
    issued = services.issue_enrolment_code(institution=bank, by=admin, valid_for=dt.timedelta(seconds=-1))
    status, answer = introduce(issued.code, PrivateKey.generate())
    assert (status, answer["code"], answer["got"]) == (403, "enrolment_code_invalid", "a code that has expired")


def test_an_unknown_code_is_refused(bank: Institution) -> None:
    status, answer = introduce("AAAAA-BBBBB-CCCCC-DDDDD.00", PrivateKey.generate())
    assert (status, answer["code"]) == (403, "enrolment_code_invalid")


def test_whoever_enrols_a_key_must_hold_it(bank: Institution, admin: User) -> None:
    issued = services.issue_enrolment_code(institution=bank, by=admin)
    status, answer = introduce(issued.code, PrivateKey.generate(), signer=PrivateKey.generate())
    assert (status, answer["code"]) == (401, "signature_invalid")
    assert EnrolmentCode.objects.get().used_at is None


def test_a_key_is_enrolled_once_and_the_second_code_stays_unused(north: Bank, admin: User) -> None:
    issued = services.issue_enrolment_code(institution=north.institution, by=admin)
    status, answer = introduce(issued.code, north.key)
    assert (status, answer["code"]) == (409, "illegal_move")
    assert EnrolmentCode.objects.get(pk=issued.row.pk).used_at is None


@pytest.mark.parametrize("body", [b"", b"[]", b'{"code": 1}', b"\xff\xfe", b'{"code":"A","code":"B"}'])
def test_a_malformed_introduction_is_refused(bank: Institution, body: bytes) -> None:
    response = Client().generic("POST", PATH, body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (400, "malformed")


def test_a_suspended_institution_enrols_nobody(bank: Institution, admin: User) -> None:
    issued = services.issue_enrolment_code(institution=bank, by=admin)
    services.suspend_institution(institution=bank, by=admin, reason="audit")
    assert introduce(issued.code, PrivateKey.generate())[1]["code"] == "institution_suspended"
    with pytest.raises(InstitutionSuspended):
        services.issue_enrolment_code(institution=bank, by=admin)


def test_an_agent_speaks_only_after_its_fingerprint_was_approved(bank: Institution, admin: User) -> None:
    agent, key = make_pending_agent(bank, by=admin)
    with pytest.raises(IllegalMove):
        services.approve_agent(agent=agent, fingerprint="0" * 64, by=admin)
    services.approve_agent(agent=agent, fingerprint=key.fingerprint, by=admin)
    assert AgentKey.objects.get().state == AgentKey.State.ACTIVE
    assert Institution.objects.get().state == Institution.State.ACTIVE


def test_an_agent_is_approved_or_refused_but_not_both(bank: Institution, admin: User) -> None:
    agent, key = make_pending_agent(bank, by=admin)
    services.refuse_agent(agent=agent, by=admin, reason="nobody called")
    with pytest.raises(IllegalMove):
        services.approve_agent(agent=agent, fingerprint=key.fingerprint, by=admin)
    assert Agent.objects.get().state == Agent.State.REVOKED


def test_an_agent_asks_where_it_stands_and_the_portal_signs_the_answer(north: Bank, admin: User) -> None:
    path = f"{PATH}/{north.agent.pk}"
    assert open_signed(north.get(path).json(), portal_key().public, Enrolment).state == "approved"
    services.revoke_key(key=north.agent.keys.get(), by=admin, reason="lost")
    assert open_signed(north.get(path).json(), portal_key().public, Enrolment).state == "revoked"


def test_an_agent_cannot_ask_for_another(north: Bank, south: Bank) -> None:
    assert north.get(f"{PATH}/{south.agent.pk}").status_code == 404
    assert Client().get(f"{PATH}/{south.agent.pk}").status_code == 401


def test_the_ledger_tells_who_enrolled_and_who_approved(north: Bank, admin: User) -> None:
    told = {row.kind: row for row in Entry.objects.filter(chain_id="consortium")}
    assert told["agent_enrolled"].actor == f"agent:{north.agent.pk}"
    assert told["agent_approved"].actor == "user:admin@consortium.example"
    assert told["agent_approved"].body["public_key"] == north.key.public.text


def test_no_secret_and_no_person_is_in_a_ledger_body(admin: User) -> None:
    bank = services.invite_institution(slug="harbour", name="Harbour Bank", by=admin)
    code = services.issue_enrolment_code(institution=bank, by=admin).code
    invited = services.invite_person(email="op@harbour.example", role="operator", by=admin, institution=bank)  # type: ignore[arg-type]
    services.accept_invitation(token=invited.token, name="Olu", password="a long enough password")
    text = " ".join(str(row.body) for row in Entry.objects.all())
    for secret in (code, code.split(".")[0], invited.token, "op@harbour.example", "Olu"):
        assert secret not in text


@pytest.mark.django_db(transaction=True)
def test_of_two_agents_with_one_code_the_database_lets_one_through(admin: User) -> None:
    bank = services.invite_institution(slug="harbour", name="Harbour Bank", by=admin)
    issued = services.issue_enrolment_code(institution=bank, by=admin)
    barrier, outcomes = threading.Barrier(4), []

    def enrol() -> None:
        key = PrivateKey.generate()
        barrier.wait()
        try:
            services.enrol_agent(code=issued.code, key=key.public, name="racer", version="1")
            outcomes.append("in")
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=enrol) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [EnrolmentCodeInvalid.code] * 3 + ["in"]
    assert Agent.objects.count() == 1


def test_an_open_code_says_so_until_it_is_used(bank: Institution, admin: User) -> None:
    issued = services.issue_enrolment_code(institution=bank, by=admin)
    assert issued.row.is_open(timezone.now())
    introduce(issued.code, PrivateKey.generate())
    issued.row.refresh_from_db()
    assert not issued.row.is_open(timezone.now())
