"""The registry below /api/v1/: read by people of the project and by its banks' agents, written by administrators."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import Malformed, NotFound
from institutions.authentication import body_of
from institutions.models import Role
from institutions.permissions import IsMember
from rounds import services
from rounds.api.calm import MemberOrAgent, SessionOrAgent, audience_for
from rounds.models import ModelVersion, Project
from rounds.selectors.registry import champion_of, champions_on, registered, registration_json, reign_json, reigns_of
from rounds.selectors.scope import audience_of, project_for, version_for

ANSWER = OpenApiResponse(OpenApiTypes.OBJECT)
WISH = inline_serializer("RegistryMove", {
    "reason": serializers.CharField(help_text="for the ledger"),
    "instead_of": serializers.CharField(required=False, allow_null=True, help_text="digest of the champion that you saw"),
})  # fmt: skip


class IsAdministrator(IsMember):
    roles = (Role.ADMINISTRATOR,)


class Registry(APIView):
    """The registered versions of a project with their status and figures, and who was champion when."""

    authentication_classes = [SessionOrAgent]
    permission_classes = [MemberOrAgent]

    @extend_schema(operation_id="registry", responses={200: ANSWER})
    def get(self, request: Request, slug: str) -> Response:
        audience = audience_for(request)
        project = project_for(audience, slug)
        rows = registered(project, audience).order_by("registered_at", "pk")
        return Response({
            "project": project.slug, "versions": [registration_json(row) for row in rows],
            "champions": [reign_json(reign) for reign in reigns_of(project, audience)],
        })  # fmt: skip


class Champion(APIView):
    """Which version is champion; with ``on`` (a day in UTC), which ones were at some time of that day."""

    authentication_classes = [SessionOrAgent]
    permission_classes = [MemberOrAgent]

    @extend_schema(operation_id="champion", parameters=[OpenApiParameter("on", OpenApiTypes.DATE)], responses={200: ANSWER})
    def get(self, request: Request, slug: str) -> Response:
        audience = audience_for(request)
        project, on = project_for(audience, slug), request.query_params.get("on", "")
        reigns = champions_on(project, audience, _day(on)) if on else list(reigns_of(project, audience).filter(until_at=None))
        return Response({"project": project.slug, "on": on or None, "champions": [reign_json(reign) for reign in reigns]})


class Rollback(APIView):
    """Make the champion before the last one champion again."""

    authentication_classes = [SessionOrAgent]
    permission_classes = [IsAdministrator]

    @extend_schema(operation_id="roll_back", request=WISH, responses={200: ANSWER})
    def post(self, request: Request, slug: str) -> Response:
        project = project_for(audience_of(request.user), slug)
        wish = _wish(request)
        reign = services.roll_back(project=project, user=request.user, reason=_reason(wish), instead_of=_seen(project, wish))
        return Response(reign_json(reign))


class VersionMove(APIView):
    """Register, promote, retire or reinstate a version."""

    authentication_classes = [SessionOrAgent]
    permission_classes = [IsAdministrator]

    @extend_schema(operation_id="move_version", request=WISH, responses={200: ANSWER})
    def post(self, request: Request, run_id: UUID, number: int, move: str) -> Response:
        version = version_for(audience_of(request.user), run_id, number)
        wish = _wish(request)
        said: dict[str, Any] = {"version": version, "user": request.user, "reason": _reason(wish)}
        match move:
            case "promote":
                services.promote_version(**said, instead_of=_seen(version.run.plan.project, wish))
            case "register":
                services.register_version(**said)
            case "retire":
                services.retire_version(**said)
            case "reinstate":
                services.reinstate_version(**said)
            case _:
                raise NotFound(expected="register, promote, retire or reinstate", got=move[:40])
        return Response(registration_json(registered(version.run.plan.project, audience_of(request.user)).get(version=version)))


def _wish(request: Request) -> dict[str, Any]:
    wish = parse_json(body_of(request._request))
    if not isinstance(wish, dict):
        raise Malformed(expected="an object with a reason", got=type(wish).__name__)
    return wish


def _reason(wish: dict[str, Any]) -> str:
    reason = wish.get("reason", "")
    if not isinstance(reason, str):
        raise Malformed(expected="a reason as text", got=type(reason).__name__)
    return reason.strip()[:500]


def _seen(project: Project, wish: dict[str, Any]) -> ModelVersion | None:
    """The champion by its digest as the caller saw it; left out, the one that there is now."""
    champion = champion_of(project)
    if "instead_of" not in wish:
        return champion
    digest = wish["instead_of"]
    if champion is not None and digest == champion.digest:
        return champion
    others = ModelVersion.objects.filter(digest=str(digest), run__plan__project=project)
    return others.exclude(pk=champion.pk if champion else 0).first()


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise Malformed(expected="a day as YYYY-MM-DD", got=text[:20]) from error
