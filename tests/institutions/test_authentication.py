"""Who an agent's request comes from: signatures, clocks, replays, revocation and suspension, at a plain view's door."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.cache import cache
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clientagent.wire import errors
from clientagent.wire.http import MAX_AGE_S, sign_request
from clientagent.wire.signing import PrivateKey
from institutions import noise, services
from institutions.authentication import AgentAuthentication, agent_view
from institutions.models import User
from institutions.problems import STATUS
from tests.cast import Bank, make_pending_agent


@agent_view
def told(request: HttpRequest) -> JsonResponse:
    identity = request.agent_identity  # type: ignore[attr-defined]
    return JsonResponse({"institution": identity.institution_slug, "seen": identity.seen, "body": request.body.decode()})


@agent_view
async def told_async(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"institution": request.agent_identity.institution_slug})  # type: ignore[attr-defined]


@agent_view
def refusing(request: HttpRequest) -> JsonResponse:
    raise errors.RoundClosed(expected="an open round", got="round 3")


class Told(APIView):
    authentication_classes = [AgentAuthentication]
    permission_classes: list[type] = []

    def get(self, request: Request) -> Response:
        return Response({"institution": request.user.institution_slug})


urlpatterns = [
    path("told", told), path("told-async", told_async), path("refusing", refusing), path("told-drf", Told.as_view()),
]
pytestmark = pytest.mark.urls(__name__)
DOORS = ["/told", "/told-async", "/told-drf"]


@pytest.mark.parametrize("door", DOORS)
def test_a_signed_request_is_its_banks(north: Bank, south: Bank, door: str) -> None:
    assert north.get(door).json()["institution"] == "north"
    assert south.get(door).json()["institution"] == "south"


@pytest.mark.parametrize("door", DOORS)
def test_an_unsigned_request_is_refused(north: Bank, door: str) -> None:
    response = Client().get(door)
    assert (response.status_code, response.json()["code"]) == (401, "signature_invalid")


@pytest.mark.parametrize("door", DOORS)
def test_revoking_a_key_takes_effect_on_the_next_request(north: Bank, south: Bank, admin: User, door: str) -> None:
    assert north.get(door).status_code == 200
    services.revoke_key(key=north.agent.keys.get(), by=admin, reason="laptop stolen")
    response = north.get(door)
    assert (response.status_code, response.json()["code"]) == (403, "agent_revoked")
    assert south.get(door).status_code == 200


@pytest.mark.parametrize("door", DOORS)
def test_suspending_an_institution_takes_effect_at_once_and_reinstating_too(north: Bank, admin: User, door: str) -> None:
    services.suspend_institution(institution=north.institution, by=admin, reason="incident")
    assert north.get(door).json()["code"] == "institution_suspended"
    services.reinstate_institution(institution=north.institution, by=admin, reason="resolved")
    assert north.get(door).status_code == 200


def test_a_waiting_agent_does_not_speak(north: Bank, admin: User) -> None:
    agent, key = make_pending_agent(north.institution, by=admin)
    waiting = Bank(north.institution, north.operator, agent, key)
    assert waiting.get("/told").json()["code"] == "agent_not_approved"


def test_a_strangers_key_is_unknown(north: Bank) -> None:
    stranger = Bank(north.institution, north.operator, north.agent, PrivateKey.generate())
    assert stranger.get("/told").json()["code"] == "key_unknown"


def test_a_key_cannot_sign_for_another(north: Bank, south: Bank) -> None:
    url, now = "http://testserver/told", dt.datetime.now(dt.UTC)
    forged = sign_request(method="GET", url=url, body=b"", key=south.key, now=now)
    forged = {name: text.replace(south.key.fingerprint, north.key.fingerprint) for name, text in forged.items()}
    response = Client().get("/told", headers=forged)
    assert (response.status_code, response.json()["code"]) == (401, "signature_invalid")


@pytest.mark.parametrize("change", [{"Fed-Protocol": "2"}, {"Fed-Seen": "run/x;9;00"}, {"Content-Digest": "sha-256=:AAAA:"}])
def test_a_changed_header_breaks_the_signature(north: Bank, change: dict[str, str]) -> None:
    assert north.call("GET", "/told", headers=change).json()["code"] == "signature_invalid"


def test_a_changed_body_breaks_the_signature(north: Bank) -> None:
    headers = sign_request(
        method="POST", url="http://testserver/told", body=b"one", key=north.key, now=dt.datetime.now(dt.UTC)
    )
    response = Client().generic("POST", "/told", b"two", headers=headers)
    assert response.json()["code"] == "signature_invalid"


@pytest.mark.parametrize(("signed", "sent"), [("/told?run=1", "/told?run=2"), ("/told?run=1", "/told"), ("/told", "/told-async")])
def test_another_address_breaks_the_signature(north: Bank, signed: str, sent: str) -> None:
    url, now = f"http://testserver{signed}", dt.datetime.now(dt.UTC)
    headers = sign_request(method="GET", url=url, body=b"", key=north.key, now=now)
    assert Client().get(sent, headers=headers).json()["code"] == "signature_invalid"


def test_the_same_request_twice_is_a_replay(north: Bank) -> None:
    now = dt.datetime.now(dt.UTC)
    headers = sign_request(method="GET", url="http://testserver/told", body=b"", key=north.key, now=now)
    assert Client().get("/told", headers=headers).status_code == 200
    assert Client().get("/told", headers=headers).json()["code"] == "replayed"


@pytest.mark.parametrize("offset", [-MAX_AGE_S - 30, MAX_AGE_S + 30])
def test_a_clock_that_is_off_is_told_so(north: Bank, offset: int) -> None:
    answer = north.call("GET", "/told", now=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=offset)).json()
    assert answer["code"] == "clock_skewed"
    assert "clock" in answer["action"]


def test_the_head_that_an_agent_saw_reaches_the_view(north: Bank) -> None:
    north.seen = f"run/1;7;{'a' * 64}"
    assert north.get("/told").json()["seen"] == north.seen


def test_an_address_with_escapes_and_unicode_verifies(north: Bank) -> None:
    assert north.get("/told?name=%E5%8C%97&x=a%2Fb+c").status_code == 200


def test_a_body_beyond_the_bound_is_too_large(north: Bank, settings) -> None:  # type: ignore[no-untyped-def]
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = north.post("/told", b"x" * 1001)
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_a_views_refusal_becomes_its_answer(north: Bank) -> None:
    response = north.get("/refusing")
    assert response.status_code == 409
    assert set(response.json()) == {"code", "expected", "got", "action"}


def test_authentication_costs_one_query(north: Bank, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    north.get("/told")  # notes the agent's presence, which is written at most every ten seconds
    with django_assert_num_queries(1):
        north.get("/told")


def test_an_agents_presence_is_noted(north: Bank) -> None:
    early = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=42)
    north.call("GET", "/told", now=early, headers={"User-Agent": "fedagent/2.0.1"})
    north.agent.refresh_from_db()
    assert north.agent.version == "2.0.1"
    assert north.agent.protocol == 1
    assert north.agent.clock_skew_s in (-42, -43)
    assert north.agent.last_seen_at is not None


def test_noise_is_bounded_by_address_but_a_good_key_behind_it_still_speaks(north: Bank) -> None:
    north.get("/told")
    codes = [Client().get("/told").json()["code"] for _ in range(noise.KNOCKS_PER_WINDOW + 1)]
    assert codes[-2:] == ["signature_invalid", "too_many_requests"]
    assert north.get("/told").status_code == 200


def test_noise_from_one_address_is_not_anothers(north: Bank) -> None:
    cache.set("knocks:10.0.0.9", noise.KNOCKS_PER_WINDOW, 60)
    assert Client(REMOTE_ADDR="10.0.0.9").get("/told").status_code == 429
    assert Client(REMOTE_ADDR="10.0.0.8").get("/told").status_code == 401


def _kinds(base: type[errors.Refusal]) -> list[type[errors.Refusal]]:
    return [base] + [kind for child in base.__subclasses__() for kind in _kinds(child)]


@pytest.mark.parametrize("kind", [k for k in _kinds(errors.Refusal) if k.__module__ == errors.__name__], ids=lambda k: k.code)
def test_every_refusal_of_the_wire_has_a_status(kind: type[errors.Refusal]) -> None:
    assert 400 <= STATUS[kind.code] < 600


def test_the_table_holds_no_code_that_nobody_raises() -> None:
    assert set(STATUS) == {kind.code for kind in _kinds(errors.Refusal) if kind.__module__ == errors.__name__}
