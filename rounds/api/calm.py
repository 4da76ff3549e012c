"""The rest of the agents' door as DRF views: plans, statements, manifests, receipts, history."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpRequest
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from pydantic import BaseModel
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import NotFound
from clientagent.wire.messages import (
    ManifestAnswer,
    PreprocessingSpec,
    PrivacyPosition,
    ReceiptAnswer,
    UploadComplete,
    UploadRequest,
    UploadState,
)
from clientagent.wire.signing import Signed, parse
from institutions.authentication import AgentAuthentication, AgentIdentity, body_of
from institutions.models import Role
from institutions.permissions import IsAuditor, membership_of
from rounds import models as tables
from rounds import services
from rounds.api.files import upload_state
from rounds.api.hot import answer_with, refusals_recorded
from rounds.exports import downloads
from rounds.selectors.privacy import position_for
from rounds.selectors.scope import Audience, audience_of, version_for
from rounds.services.decisions import plan_for


def _json(message: BaseModel) -> Response:
    return Response(message.model_dump(mode="json"))


def _statement(request: Request) -> Signed:
    return parse(Signed, parse_json(body_of(request._request)))


def _receipt(request: Request, receipt: tables.Receipt, statement: Signed | None = None) -> Response:
    return Response(parse_json(answer_with(request.user, receipt, statement=statement).content))  # type: ignore[arg-type]


class AgentView(APIView):
    """A signed request of an approved agent; ``request.user`` is its ``AgentIdentity``."""

    authentication_classes = [AgentAuthentication]
    permission_classes = [AllowAny]  # the signature is the permission; what it may see is decided by each selector


class PlanView(AgentView):
    """The plan under the portal's signature."""

    @extend_schema(operation_id="plan", responses={200: Signed})
    def get(self, request: Request, plan_hash: str) -> Response:
        return Response(plan_for(_identity(request), plan_hash).signed)


class Decisions(AgentView):
    """A bank's word on a plan."""

    @extend_schema(operation_id="decide", request={"application/json": Signed}, responses={200: ReceiptAnswer})
    def post(self, request: Request, plan_hash: str) -> Response:
        statement = _statement(request)
        receipt = services.record_decision(identity=_identity(request), plan_hash=plan_hash, statement=statement)
        return _receipt(request, receipt)


class Statistics(AgentView):
    """A bank's sums over its training rows, or why its data do not fit."""

    @extend_schema(operation_id="statistics", request={"application/json": Signed}, responses={200: ReceiptAnswer})
    def post(self, request: Request) -> Response:
        identity, statement = _identity(request), _statement(request)
        services.take_report_statement(identity=identity, statement=statement)
        return _receipt(request, services.accept_statistics(identity=identity, statement=statement), statement)


class Manifest(AgentView):
    """What the portal signed before round 1, and the frozen preprocessing that it names."""

    @extend_schema(operation_id="manifest", responses={200: ManifestAnswer})
    def get(self, request: Request, run_id: str) -> Response:
        run = tables.Run.objects.filter(
            pk=run_id, seats__institution_id=_identity(request).institution_id, manifest__isnull=False
        ).first()
        if run is None:
            raise NotFound(expected="a run of this bank that has begun", got=str(run_id))
        return _json(
            ManifestAnswer(
                manifest=Signed.model_validate(run.manifest),
                preprocessing=PreprocessingSpec.model_validate(run.preprocessing),
            )
        )


class Uploads(AgentView):
    """Open a session for an update of several parts."""

    @extend_schema(operation_id="open_upload", request={"application/json": UploadRequest}, responses={200: UploadState})
    def post(self, request: Request) -> Response:
        wish = parse(UploadRequest, parse_json(body_of(request._request)))
        identity = _identity(request)
        with refusals_recorded(identity, wish.manifest):
            services.uploads.take_privacy(identity=identity, statement=wish.manifest)
            upload = services.open_upload(identity=identity, statement=wish.manifest, part_bytes=wish.part_bytes)
        return _json(upload_state(upload))


class CompleteUpload(AgentView):
    """All parts are there: assemble, check, accept."""

    @extend_schema(operation_id="complete_upload", request={"application/json": UploadComplete}, responses={200: ReceiptAnswer})
    def post(self, request: Request, upload_id: str) -> Response:
        wish = parse(UploadComplete, parse_json(body_of(request._request)))
        identity = _identity(request)
        upload = services.uploads.find_upload(identity, str(upload_id))
        with refusals_recorded(identity, Signed.model_validate(upload.manifest)):
            receipt = services.complete_upload(
                identity=identity, upload_id=str(upload_id), update_digest=wish.update_digest
            )
        return _receipt(request, receipt, Signed.model_validate(upload.manifest))


class Evaluations(AgentView):
    """The closing evaluation of a run's last version."""

    @extend_schema(operation_id="evaluate", request={"application/json": Signed}, responses={200: ReceiptAnswer})
    def post(self, request: Request) -> Response:
        return _receipt(request, services.accept_evaluation(identity=_identity(request), statement=_statement(request)))


class Appraisals(AgentView):
    """What a bank found in the run's result."""

    @extend_schema(operation_id="appraise", request={"application/json": Signed}, responses={200: ReceiptAnswer})
    def post(self, request: Request, run_id: str) -> Response:
        return _receipt(request, services.accept_appraisal(identity=_identity(request), statement=_statement(request)))


class Acknowledgements(AgentView):
    """A bank holds the run's result, verified."""

    @extend_schema(operation_id="acknowledge", request={"application/json": Signed}, responses={200: ReceiptAnswer})
    def post(self, request: Request, run_id: str) -> Response:
        return _receipt(request, services.acknowledge_result(identity=_identity(request), statement=_statement(request)))


class Refusals(AgentView):
    """An agent will not or cannot do a piece of work."""

    @extend_schema(operation_id="refuse_work", request={"application/json": Signed}, responses={200: ReceiptAnswer})
    def post(self, request: Request) -> Response:
        return _receipt(request, services.refuse_work(identity=_identity(request), statement=_statement(request)))


class Privacy(AgentView):
    """What the portal has seen of one of this bank's privacy ledgers."""

    @extend_schema(operation_id="privacy", parameters=[OpenApiParameter("subject", str)], responses={200: PrivacyPosition})
    def get(self, request: Request) -> Response:
        return _json(position_for(_identity(request), request.query_params.get("subject", "")))


class PrivacyLedgers(AgentView):
    """Where this bank's ledger of what it as a whole has lost in a project stands, before a run spends from it."""

    @extend_schema(operation_id="show_bank_privacy", request={"application/json": Signed}, responses={200: Signed})
    def post(self, request: Request) -> Response:
        return _json(services.meet_bank(identity=_identity(request), statement=_statement(request)))


class Receipts(AgentView):
    """A receipt that this bank was given."""

    @extend_schema(operation_id="receipt", responses={200: Signed})
    def get(self, request: Request, receipt_id: str) -> Response:
        row = tables.Receipt.objects.filter(pk=receipt_id, institution_id=_identity(request).institution_id).first()
        if row is None:
            raise NotFound(expected="a receipt of this bank", got=str(receipt_id))
        return Response(row.signed)


class SessionOrAgent(SessionAuthentication):
    def authenticate(self, request: Request) -> Any:
        if "signature-input" in request.headers:
            return AgentAuthentication().authenticate(request)
        return super().authenticate(request)


class MemberOrAgent(BasePermission):
    """An agent, or a person with a seat; what either may see is decided by the selector."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, AgentIdentity) or membership_of(request.user) is not None


class _AuditorOrAgent(IsAuditor):
    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, AgentIdentity) or super().has_permission(request, view)


class History(APIView):
    """A run's history, which verifies offline: for auditors and administrators who signed in, and for the run's agents."""

    authentication_classes = [SessionOrAgent]
    permission_classes = [_AuditorOrAgent]

    @extend_schema(operation_id="history", responses={200: OpenApiResponse(OpenApiTypes.OBJECT)})
    def get(self, request: Request, run_id: str) -> Response:
        runs = tables.Run.objects.select_related("plan__project")
        if isinstance(request.user, AgentIdentity):
            runs = runs.filter(seats__institution_id=request.user.institution_id)
        run = runs.filter(pk=run_id).first()
        if run is None:
            raise NotFound(expected="a run that you may see", got=str(run_id))
        return Response(downloads.history(run))


class VersionEvaluation(APIView):
    """How a version scores hold-out customers: figures with their bounds, and the counts that they follow from.

    A bank is shown its own and those of all banks together; administrators and auditors see every bank's.
    """

    authentication_classes = [SessionOrAgent]
    permission_classes = [MemberOrAgent]

    @extend_schema(operation_id="version_evaluation", responses={200: OpenApiResponse(OpenApiTypes.OBJECT)})
    def get(self, request: Request, run_id: UUID, number: int) -> Response:
        audience = audience_for(request)
        return Response(downloads.evaluation(version_for(audience, run_id, number), audience))


def audience_for(request: Request) -> Audience:
    if isinstance(request.user, AgentIdentity):
        return Audience(Role.OPERATOR, request.user.institution_id, request.user.institution_slug)
    return audience_of(request.user)


def _identity(request: Request | HttpRequest) -> AgentIdentity:
    return request.user  # type: ignore[return-value]
