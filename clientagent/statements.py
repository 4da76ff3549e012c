"""What a bank says of a finished piece of work: that an update leaves, or that one waits to be masked."""

from __future__ import annotations

import platform
import sys
from typing import Any

import numpy as np

from clientagent import __version__
from clientagent.orders import Terms
from clientagent.training.contribution import Contribution, Outgoing
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.cohort_orders import UpdateReady
from clientagent.wire.messages import Environment, EvaluationCounts, PrivacyStatement, UpdateManifest, WorkOrder
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import adapts
from clientagent.wire.strategies import needs_torch, uplink_layout


def manifest_of(
    terms: Terms, order: WorkOrder, agent_id: str, out: Outgoing, made: Contribution, counts: EvaluationCounts | None,
    privacy: PrivacyStatement | None,
) -> UpdateManifest:
    """Of an update that leaves as it is, with the counts that were asked for and what it costs in privacy."""
    return UpdateManifest(
        **_place(order), agent_id=agent_id, update_digest=sha256_hex(out.data), update_bytes=len(out.data),
        codec=terms.plan.compression.codec, plain_bytes=uplink_layout(terms.plan, terms.manifest.inputs).file_bytes,
        rows=terms.own.rows, norm=out.norm, steps=made.steps, train_loss=made.train_loss, base_loss=made.base_loss,
        training_s=round(made.seconds, 3), counts=counts, privacy=privacy, environment=_environment(terms.plan, made),
        within_clip=out.within if adapts(terms.plan) else None,
    )


def ready_of(
    terms: Terms, order: WorkOrder, agent_id: str, out: Outgoing | None = None, made: Contribution | None = None,
    privacy: PrivacyStatement | None = None,
) -> UpdateReady:
    """Of an update that waits to be masked, and nothing of what it holds; without ``out`` and ``made`` of counts alone."""
    return UpdateReady(
        **_place(order), agent_id=agent_id, rows=terms.own.rows, steps=made.steps if made else 0,
        training_s=round(made.seconds, 3) if made else 0, plain_bytes=len(out.data) if out else 0, privacy=privacy,
        environment=_environment(terms.plan, made),
    )


def _place(order: WorkOrder) -> dict[str, Any]:
    """Which piece of work a statement is about."""
    names = ("run", "manifest_digest", "round", "attempt", "base_number", "base_digest", "institution")
    return {name: getattr(order, name) for name in names}


def _environment(plan: Plan, made: Contribution | None) -> Environment:
    torch = sys.modules.get("torch") if made and made.steps and needs_torch(plan) else None
    return Environment(
        agent_version=__version__, python=platform.python_version(), numpy=np.__version__,
        torch=str(torch.__version__) if torch else "",
    )
