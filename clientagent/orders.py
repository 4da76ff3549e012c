"""Whether a WorkOrder may be done: by whom, for which run, from which base. One that does not fit is refused, never mended."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from clientagent.approval import require_approved
from clientagent.home import Home
from clientagent.portal import Portal
from clientagent.runs import RunFolder, WorkFolder
from clientagent.seating import pinned_manifest
from clientagent.training.memory import Memory, own_layout
from clientagent.wire.errors import BaseMismatch, LedgerBroken, NotAllowed, Replayed, RoundUnknown
from clientagent.wire.messages import ManifestAnswer, RosterEntry, RunManifest, WorkOrder
from clientagent.wire.plan import Plan
from clientagent.wire.signing import Signed
from clientagent.wire.strategies import uplink_layout
from clientagent.wire.tensors import Layout
from clientagent.wire.weights import layout_of

SEED_BITS = 53
"""As many as a JSON number holds exactly."""

log = logging.getLogger("fedagent.orders")


@dataclass(frozen=True)
class Terms:
    """What an order is judged by and done with: each part approved by the bank, pinned, or its own."""

    plan: Plan
    answer: ManifestAnswer
    manifest: RunManifest
    own: RosterEntry
    layout: Layout
    folder: RunFolder

    @property
    def memory(self) -> Memory:
        """What this bank keeps from round to round for the plan's strategy or codec."""
        uplink = uplink_layout(self.plan, self.manifest.inputs)
        return Memory(self.folder.path / "own", own_layout(self.plan, self.layout.parameters, uplink.parameters))


def terms_of(home: Home, portal: Portal, order: WorkOrder) -> Terms:
    """The terms of an order that the portal signed.

    Raises ``LedgerBroken`` for a run that was stopped here, ``NotAllowed``, ``ManifestMismatch``, ``PlanNotApproved``,
    ``RoundUnknown``, ``BaseMismatch`` or ``Replayed``.
    """
    folder = home.run(order.run)
    if order.epoch < (known := portal.epoch):
        raise Replayed(
            expected=f"an order of epoch {known}", got=f"one of epoch {order.epoch}, from before the portal was restored",
            action="The agent asks for a fresh order.",
        )
    if stopped := folder.stopped:
        raise LedgerBroken(expected=stopped.expected, got=stopped.got, action=stopped.action)
    if order.institution != portal.identity.institution:
        raise NotAllowed(expected=f"an order for {portal.identity.institution}", got=f"one for {order.institution}")
    answer, manifest = pinned_manifest(home, portal, order.run, order.manifest_digest)
    plan = require_approved(home, manifest.plan_hash)
    own = next(entry for entry in manifest.roster if entry.institution == order.institution)
    terms = Terms(plan, answer, manifest, own, layout_of(plan, manifest.inputs), folder)
    _check_base(terms, order)
    return terms


def _check_base(terms: Terms, order: WorkOrder) -> None:
    rounds = terms.plan.versions(len(terms.manifest.roster))
    if order.base_bytes != terms.layout.file_bytes:
        raise BaseMismatch(expected=f"a base of {terms.layout.file_bytes} bytes", got=f"{order.base_bytes} bytes")
    if order.base_number == 0 and order.base_digest != terms.manifest.initial_digest:
        raise BaseMismatch(expected=f"the initial weights {terms.manifest.initial_digest}", got=order.base_digest)
    if order.base_number > rounds:
        raise RoundUnknown(expected=f"a version up to {rounds}", got=f"version {order.base_number}")
    if order.kind == "evaluate" and terms.plan.privacy.secure_aggregation is not None and order.round != order.base_number + 1:
        raise RoundUnknown(expected=f"round {order.base_number + 1}, in which version {order.base_number} is counted", got=f"{order.round}")
    if order.kind != "train":
        return
    if not 1 <= order.round <= rounds:
        raise RoundUnknown(expected=f"a round from 1 to {rounds}", got=f"round {order.round}")
    if order.base_number != order.round - 1:
        raise BaseMismatch(expected=f"version {order.round - 1}", got=f"version {order.base_number}")


def pin_work(terms: Terms, signed: Signed, order: WorkOrder) -> tuple[WorkFolder, int]:
    """The folder of an order and the seed fixed for it. A round has one base version, whatever its attempt.

    Only an order of a later epoch, in which the portal signs that it was restored from a backup, may name another one: what was
    done from the first is set aside, and said loudly. Raises ``BaseMismatch``.
    """
    for earlier in terms.folder.attempts(order.round):
        pinned = earlier.pinned
        if pinned and pinned.work.base_digest != order.base_digest:
            if order.epoch > pinned.work.epoch:
                log.critical(
                    "round %d begins anew from another base: the portal was restored from a backup (epoch %d). What was done in "
                    "epoch %d is set aside in %s", order.round, order.epoch, pinned.work.epoch, earlier.set_aside().path,
                )
                continue
            raise BaseMismatch(
                expected=f"the base {pinned.work.base_digest} of attempt {pinned.work.attempt} at this round",
                got=order.base_digest, action="Do not go on: one round has one base. Tell the auditor.",
            )
    work = terms.folder.work(order.round, order.attempt)
    pinned = work.pinned or work.pin(signed, seed_of(terms.plan, order))
    return work, pinned.seed


def seed_of(plan: Plan, order: WorkOrder) -> int:
    """The randomness of one bank in one round: the same in every rehearsal, different for every bank and round.

    In async mode another slot from the same base is new work and gets randomness of its own.
    """
    text = f"{plan.training.seed}\n{order.institution}\n{order.round}"
    if plan.schedule.mode == "async":
        text += f"\n{order.attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - SEED_BITS)
