"""The one table from a refusal's code to its HTTP status, and the one shape of its answer."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from clientagent.wire.errors import Malformed, NotAllowed, NotFound, Refusal, TooManyRequests

logger = logging.getLogger(__name__)

STATUS: dict[str, int] = {
    "refused": 400,
    "malformed": 400,
    "truncated": 400,
    "signature_invalid": 401,
    "key_unknown": 401,
    "clock_skewed": 401,
    "replayed": 401,
    "agent_not_approved": 403,
    "agent_revoked": 403,
    "institution_suspended": 403,
    "not_allowed": 403,
    "enrolment_code_invalid": 403,
    "plan_not_approved": 403,
    "not_enrolled": 403,
    "not_found": 404,
    "round_unknown": 404,
    "base_unavailable": 404,
    "illegal_move": 409,
    "update_conflict": 409,
    "round_closed": 409,
    "base_mismatch": 409,
    "manifest_mismatch": 409,
    "plan_hash_mismatch": 409,
    "portal_key_mismatch": 409,
    "ledger_broken": 409,
    "own_state_lost": 409,
    "too_large": 413,
    "plan_invalid": 422,
    "plan_unsupported": 422,
    "digest_mismatch": 422,
    "tensors_mismatch": 422,
    "codec_invalid": 422,
    "not_finite": 422,
    "statistics_invalid": 422,
    "counts_invalid": 422,
    "data_unfit": 422,
    "policy_invalid": 422,
    "cohort_mismatch": 409,
    "cohort_too_small": 409,
    "stage_closed": 409,
    "consistency_broken": 409,
    "mask_reused": 409,
    "unmask_refused": 409,
    "mask_key_invalid": 422,
    "share_invalid": 422,
    "ring_exceeded": 422,
    "budget_exceeded": 409,
    "privacy_ledger_locked": 409,
    "privacy_unsound": 422,
    "protocol_unsupported": 426,
    "too_many_requests": 429,
    "portal_unreachable": 502,
}


def status_of(refusal: Refusal) -> int:
    return STATUS[refusal.code]


def _headers(refusal: Refusal) -> dict[str, str]:
    return {"Retry-After": "60"} if isinstance(refusal, TooManyRequests) else {}


def problem_response(refusal: Refusal) -> JsonResponse:
    """For plain views."""
    return JsonResponse(refusal.problem(), status=status_of(refusal), headers=_headers(refusal))


def drf_exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """For DRF views: refusals, and DRF's own errors in the same words. A fault of ours stays an exception."""
    refusal = _as_refusal(error)
    if refusal is None:
        return None
    status = error.status_code if isinstance(error, exceptions.APIException) else status_of(refusal)
    return Response(refusal.problem(), status=status, headers=_headers(refusal))


def _as_refusal(error: Exception) -> Refusal | None:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Http404 | exceptions.NotFound):
        return NotFound(expected="something that you may see", got="nothing at this address")
    if isinstance(error, exceptions.Throttled):
        return TooManyRequests(expected="fewer requests", got="too many")
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied | exceptions.NotAuthenticated):
        return NotAllowed(expected="a signed request of an agent, or a member who is signed in", got="neither")
    if isinstance(error, exceptions.APIException):
        return Malformed(expected="a request as /api/schema/ describes it", got=str(error.detail)[:500])
    return None
