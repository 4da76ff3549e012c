"""What the API's description says beyond DRF's views: signatures, the plain views of the hot path, the problem's shape."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from pydantic import BaseModel

from clientagent.wire.messages import Progress, ReceiptAnswer, UploadState, WorkAnswer
from clientagent.wire.signing import Signed

REFERENCE = "#/components/schemas/{model}"
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
UPDATE = {"application/vnd.fedportal.update": {"schema": {"type": "string", "format": "binary"}}}
PROBLEM = {
    "type": "object",
    "required": ["code", "expected", "got", "action"],
    "properties": {name: {"type": "string"} for name in ("code", "expected", "got", "action")},
    "description": "The body of every refusal. Programs key on the code, which never changes.",
}
SIGNATURE = {
    "type": "http",
    "scheme": "signature",
    "description": "RFC 9421 with Ed25519, over method, path, query, Content-Digest, Fed-Protocol and Fed-Seen.",
}


class SignatureScheme(OpenApiAuthenticationExtension):
    target_class = "institutions.authentication.AgentAuthentication"
    name = "agentSignature"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return SIGNATURE


class SessionOrSignatureScheme(OpenApiAuthenticationExtension):
    target_class = "rounds.api.calm._SessionOrAgent"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{"session": []}, {"agentSignature": []}]


def _parameter(name: str, place: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": kind}}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE.format(model=model.__name__)}}}


def _operation(
    operation: str, text: str, *, parameters: list[dict[str, Any]] | None = None, body: dict[str, Any] | None = None,
    answers: dict[str, tuple[str, dict[str, Any] | None]],
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": operation, "description": text, "tags": ["work"], "security": [{"agentSignature": []}],
        "parameters": parameters or [],
        "responses": {
            code: {"description": said, **({"content": content} if content else {})} for code, (said, content) in answers.items()
        },
    }  # fmt: skip
    if body:
        found["requestBody"] = {"required": True, "content": body}
    return found


PLAIN: dict[str, dict[str, Any]] = {
    "/api/v1/work": {
        "get": _operation(
            "work", "The next piece of work, the moment there is one.", parameters=[_parameter("wait", "query", "number")],
            answers={"200": ("work", _json(WorkAnswer)), "204": ("none within the wait of at most 25 s", None)},
        )
    },
    "/api/v1/updates": {
        "post": _operation(
            "send_update", "An update in one request: a 4-byte big-endian length, the signed manifest, the file.", body=UPDATE,
            answers={"200": ("received", _json(ReceiptAnswer))},
        )
    },
    "/api/v1/ready": {
        "post": _operation(
            "ready", "Under secure aggregation: an update is trained and waits to be masked (a signed UpdateReady).",
            body=_json(Signed), answers={"200": ("received", _json(ReceiptAnswer))},
        )
    },
    "/api/v1/cohorts/{rid}/messages": {
        "post": _operation(
            "speak_in_cohort", "One bank's signed word in the stage of its cohort that awaits it; the masked vector is an update.",
            parameters=[_parameter("rid", "path", "string")], body=_json(Signed),
            answers={"200": ("heard; the next work", _json(WorkAnswer)), "204": ("heard; no work yet", None)},
        )
    },
    "/api/v1/cohorts/{rid}/vector": {
        "post": _operation(
            "send_vector", "Statistics under a mask: a 4-byte big-endian length, the signed document, the ring's words.",
            parameters=[_parameter("rid", "path", "string")], body=UPDATE, answers={"200": ("received", _json(ReceiptAnswer))},
        )
    },
    "/api/v1/uploads/{upload_id}/parts/{number}": {
        "put": _operation(
            "send_part", "One numbered part of at most 8 MiB.",
            parameters=[_parameter("upload_id", "path", "string"), _parameter("number", "path", "integer")], body=BINARY,
            answers={"200": ("what is here", _json(UploadState))},
        )
    },
    "/api/v1/models/{run_id}/{number}": {
        "get": _operation(
            "model", "A version's file, with ETag = digest and Range.",
            parameters=[_parameter("run_id", "path", "string"), _parameter("number", "path", "integer")],
            answers={"200": ("the file", BINARY), "206": ("a range of it", BINARY), "304": ("it is the one you hold", None)},
        )
    },
    "/api/v1/models/{run_id}/{number}/state": {
        "get": _operation(
            "state", "The server's vectors beside a version, where banks train with them, with ETag = digest and Range.",
            parameters=[_parameter("run_id", "path", "string"), _parameter("number", "path", "integer")],
            answers={"200": ("the file", BINARY), "206": ("a range of it", BINARY), "304": ("it is the one you hold", None)},
        )
    },
    "/api/v1/models/{run_id}/{number}/delta": {
        "get": _operation(
            "delta", "A version as its difference to the version since, which the agent has; lossless.",
            parameters=[
                _parameter("run_id", "path", "string"), _parameter("number", "path", "integer"),
                _parameter("since", "query", "integer"),
            ],
            answers={"200": ("a container of the codec delta", BINARY)},
        )
    },
    "/api/v1/progress": {
        "post": _operation(
            "progress", "Where an agent is. May be lost.", body=_json(Progress), answers={"204": ("noted", None)}
        )
    },
}  # fmt: skip


def add_plain_views(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: the operations above, their schemas, and the refusal as the answer to everything else."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    for model in (WorkAnswer, ReceiptAnswer, UploadState, Progress, Signed):
        schema = model.model_json_schema(ref_template=REFERENCE)
        for name, part in {**schema.pop("$defs", {}), model.__name__: schema}.items():
            schemas.setdefault(name, part)
    schemas["Problem"] = PROBLEM
    result["paths"] = dict(sorted({**result["paths"], **PLAIN}.items()))
    refusal = {"description": "refused", "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model="Problem")}}}}
    for path in result["paths"].values():
        for operation in path.values():
            operation["responses"].setdefault("4XX", refusal)
    return result
