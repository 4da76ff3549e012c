"""A plan under signature, and a bank's word on it."""

from __future__ import annotations

from typing import Literal

from clientagent.wire.messages.basis import Digest, Id, Instant, Text
from clientagent.wire.plan import Slug
from clientagent.wire.signing import Document


class PlanDocument(Document):
    """GET plans/{hash}: the plan under the portal's signature."""

    type: Literal["plan"] = "plan"
    plan: dict[str, object]
    plan_hash: Digest


class PlanNotice(Document):
    """Work: a run of this plan waits for this bank's word."""

    type: Literal["plan_notice"] = "plan_notice"
    run: Id
    project: Slug
    plan_hash: Digest
    portal_approval: bool = False


class Decision(Document):
    """POST plans/{hash}/decisions: a bank's word on a plan, signed by its agent. ``pending``: a person must look."""

    type: Literal["decision"] = "decision"
    plan_hash: Digest
    institution: Slug
    decision: Literal["approved", "refused", "pending"]
    by: Literal["policy", "hand", "portal"]
    reason: Text = ""
    at_utc: Instant
