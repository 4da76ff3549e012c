"""The door by which an agent introduces itself: enrolments under /api/v1/."""

from __future__ import annotations

import uuid

from django.http import HttpRequest
from django.urls import path
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from audit.services import utc_text
from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import EnrolmentCodeInvalid, NotFound, Refusal, SignatureInvalid
from clientagent.wire.http import key_id_of
from clientagent.wire.messages import Enrolment, EnrolmentRequest
from clientagent.wire.signing import PublicKey, Signed, parse, sign_document
from institutions.authentication import body_of, known_signer, verify_signature
from institutions.models import Agent, AgentKey
from institutions.noise import address_of, count_knock, refuse_noisy
from institutions.portal_key import portal_key
from institutions.services import enrol_agent
from institutions.services.agents import code_is_known


def enrolment_of(agent: Agent, key: AgentKey) -> Signed:
    """The portal's signed word on where an agent stands, with the root key spelled out."""
    state = "revoked" if key.state == AgentKey.State.REVOKED else agent.state
    document = Enrolment(
        agent_id=str(agent.pk), institution=agent.institution.slug, institution_name=agent.institution.name,
        key_fingerprint=key.fingerprint, state=state, root_key=portal_key().public.text, at_utc=utc_text(),  # type: ignore[arg-type]
    )
    return sign_document(document, portal_key())


class Enrolments(APIView):
    """A new agent shows its code; the request is signed with the key that it brings."""

    authentication_classes: list[type] = []
    permission_classes: list[type] = []

    @extend_schema(
        operation_id="enrol", request={"application/json": EnrolmentRequest},
        responses={201: Signed, 403: OpenApiResponse(description="enrolment_code_invalid, institution_suspended")},
    )
    def post(self, request: Request) -> Response:
        address = address_of(request._request)
        refuse_noisy(address)
        try:
            agent, key = _enrol(request._request)
        except Refusal as refusal:
            count_knock(address, refusal)
            raise
        return Response(enrolment_of(agent, key).model_dump(mode="json"), status=201)


def _enrol(request: HttpRequest) -> tuple[Agent, AgentKey]:
    message = parse(EnrolmentRequest, parse_json(body_of(request)))
    if not code_is_known(message.code):
        raise EnrolmentCodeInvalid(expected="a code that was issued here", got="an unknown code")
    key = PublicKey.from_text(message.public_key)
    if key_id_of(request.headers) != key.fingerprint:
        raise SignatureInvalid(expected="a request signed with the enrolled key", got="another key")
    verify_signature(request, key)
    agent = enrol_agent(code=message.code, key=key, name=message.name, version=message.agent_version)
    return agent, agent.keys.get(fingerprint=key.fingerprint)


class EnrolmentState(APIView):
    """An agent asks where it stands, signed with its key in whatever standing."""

    authentication_classes: list[type] = []
    permission_classes: list[type] = []

    @extend_schema(operation_id="enrolment", responses={200: Signed})
    def get(self, request: Request, agent_id: uuid.UUID) -> Response:
        key, _ = known_signer(request._request)
        if key.agent_id != agent_id:
            raise NotFound(expected="the agent that signs", got=str(agent_id))
        return Response(enrolment_of(key.agent, key).model_dump(mode="json"))


urlpatterns = [
    path("enrolments", Enrolments.as_view(), name="api-enrolments"),
    path("enrolments/<uuid:agent_id>", EnrolmentState.as_view(), name="api-enrolment"),
]
