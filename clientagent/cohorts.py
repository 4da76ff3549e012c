"""This bank in a cohort: each stage's notice is held against our own terms, answered once, and on disk before it is sent.

The update never leaves as it is: its quantised integers do, under masks that only the sum over the cohort takes away.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clientagent.faults import Phase
from clientagent.home import Home
from clientagent.orders import Terms
from clientagent.portal import Portal
from clientagent.runs import WorkFolder
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.cohort_orders import CohortNotice, UpdateReady
from clientagent.wire.errors import CohortMismatch, NotAllowed, RoundUnknown
from clientagent.wire.masking import (
    Base,
    Party,
    Quantised,
    Rotation,
    bound_offered,
    clip_of,
    cohort_segments,
    cohort_terms,
    count_segments,
    evaluation_integers,
    is_rotated,
    noised,
    quantise,
)
from clientagent.wire.messages import EvaluationCounts, UpdateManifest, WorkOrder
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.secure_messages import CohortTerms, KeyList, Opened, Segment, ShareInbox, SurvivorList, UnmaskRequest
from clientagent.wire.signing import Signed, parse, sign_document
from clientagent.wire.tensors import Array, unpack

PHASES: dict[str, Phase] = {
    "keys": "keys", "shares": "shares", "masked": "masked", "consistency": "unmask", "unmask": "unmask",
}  # fmt: skip
"""What a rehearsal calls each stage."""

Parts = dict[str, NDArray[np.signedinteger]]
"""Integers by segment."""
Purpose = Literal["update", "evaluation"]
ROUNDING_STREAM = 2
"""Beside the streams of training and of plain codecs, from the same seed: a restart rounds alike."""

log = logging.getLogger("fedagent.cohorts")


@dataclass(frozen=True)
class Seat:
    """Where an answer is made: the bank's home, its place in the round, and the order that it trained for."""

    home: Home
    terms: Terms
    order: WorkOrder
    work: WorkFolder


def order_of(home: Home, portal: Portal, notice: CohortNotice) -> tuple[WorkOrder, WorkFolder]:
    """The order that a notice speaks of, as we pinned it. Raises ``NotAllowed`` or ``RoundUnknown``."""
    if notice.institution != portal.identity.institution:
        raise NotAllowed(expected=f"a notice for {portal.identity.institution}", got=f"one for {notice.institution}")
    work = home.run(notice.run).work(notice.round, notice.attempt)
    pinned = work.pinned
    if pinned is None or work.ready is None:
        got = f"round {notice.round}, attempt {notice.attempt}"
        raise RoundUnknown(expected="a round in which an update of ours waits to be masked", got=got)
    return pinned.work, work


def trained_before(attempts: list[WorkFolder], order: WorkOrder) -> tuple[bytes, UpdateReady, EvaluationCounts | None] | None:
    """An update of an earlier attempt from the same base, which need not be trained again: the same input may be summed again.

    Under record_dp a repeated attempt is the same release, noise and all, and costs nothing more. Under institution_dp each cohort
    gets noise of its own, and is charged.
    """
    for work in attempts:
        ready = work.ready
        said = parse(UpdateReady, ready.document) if ready else None
        if said and said.base_digest == order.base_digest and work.plain_path.exists():
            data = work.plain_path.read_bytes()
            if len(data) == said.plain_bytes:
                return data, said.model_copy(update={"attempt": order.attempt}), work.counts
    return None


def word_of(seat: Seat, notice: CohortNotice) -> Signed:
    """What this bank says to a notice: signed, and with its secrets on disk.

    Raises ``CohortMismatch``, ``ConsistencyBroken``, ``ShareInvalid``, ``UnmaskRefused`` and the like; then nothing was said.
    """
    key, content = seat.home.key, notice.content
    party = _party(seat, notice)
    said: Signed | None
    match content:
        case CohortTerms():
            own = _own_terms(seat, notice, content)
            party = party or Party.join(content, own=own, institution=notice.institution, identity=key)
            said = party.advertisement
        case KeyList():
            party = _require(party, notice).share(content, identity=key)
            said = party.shares
        case ShareInbox():
            party = _mask(seat, _require(party, notice).receive(content))
            said = seat.work.manifest
        case SurvivorList():
            party = _require(party, notice).confirm(content, identity=key)
            said = party.consistency
        case UnmaskRequest():
            party = _open(seat, _require(party, notice), content)
            said = party.answer
    if said is None:
        raise RuntimeError(f"nothing to say in stage {notice.stage}")
    seat.work.save_party(notice.cohort, party.to_json())
    if notice.stage == "unmask":
        seat.home.note_opened(party.opened)
        seat.terms.folder.use_consent(seat.order.base_number)
    log.info("round %d: cohort of %d banks, stage %s", notice.round, party.cohort.size, notice.stage)
    return said


def _open(seat: Seat, party: Party, request: UnmaskRequest) -> Party:
    """The answer that opens the sum; one that was given before is only given again.

    A second sum of a base needs the operator's consent; under record_dp too, for an attempt repeats its noise. Under institution_dp it
    has fresh noise, which was charged when the vector left; counts have none. Another plan that the
    bank approved is such a consent for its own runs, though they may start from the same weights; another run of the same plan is
    one where the same banks are in the sum.
    """
    if party.answer is not None:
        return party
    may_reopen = seat.terms.folder.may_reopen(seat.order.base_number)
    previous = _opened_before(seat, party.opened)
    if seat.terms.plan.privacy.institution_dp is not None:
        counted = party.opened.counts_digest is not None
        previous = [before for before in previous if counted and before.counts_digest is not None]
    return party.unmask(request, identity=seat.home.key, previous=previous, may_reopen=may_reopen)


def _opened_before(seat: Seat, now: Opened) -> list[Opened]:
    """What this bank helped to open and must not open again over other banks."""
    found = []
    for before in seat.home.opened():
        manifest = seat.home.run(before.run).manifest if before.run != now.run else None
        if before.run == now.run or (
            manifest is not None and manifest.plan_hash == seat.terms.plan.hash and before.survivors != now.survivors
        ):
            found.append(before)
    return found


def _party(seat: Seat, notice: CohortNotice) -> Party | None:
    data = seat.work.party(notice.cohort)
    party = Party.from_json(data) if data else None
    if party and party.cohort.rid != notice.rid:
        raise CohortMismatch(expected=f"the cohort {party.cohort.rid[:16]}, which we joined", got=notice.rid[:16])
    return party


def _require(party: Party | None, notice: CohortNotice) -> Party:
    if party is None:
        raise CohortMismatch(expected="a cohort that we joined", got=f"{notice.rid[:16]}, in stage {notice.stage}")
    return party


def _own_terms(seat: Seat, notice: CohortNotice, offered: CohortTerms) -> CohortTerms:
    """The terms as this bank computes them; of the portal's it takes nothing but who was ready."""
    order, members = seat.order, [member.institution for member in offered.members]
    if notice.institution not in members:
        raise CohortMismatch(expected="a cohort with us in it", got=", ".join(members))
    base, plan = Base(order.base_number, order.base_digest), seat.terms.plan
    purpose: Purpose = "evaluation" if order.kind == "evaluate" else "update"
    is_noised = plan.privacy.institution_dp is not None and purpose == "update"
    noise = institution_terms(plan).noise_multiplier if is_noised else None
    return cohort_terms(
        plan=plan, manifest=seat.terms.manifest, manifest_digest=order.manifest_digest, round_number=order.round,
        attempt=order.attempt, cohort=notice.cohort, bases=dict.fromkeys(members, base),
        segments=cohort_segments(
            plan, seat.terms.manifest, members, purpose=purpose, base_number=order.base_number, attempt=order.attempt,
            bound=bound_offered(offered.segments), noise_multiplier=noise,
        ),
        noise_multiplier=noise, purpose=purpose,
    )


def _mask(seat: Seat, party: Party) -> Party:
    """Quantise, encode, mask; the masked words and the manifest that signs them are on disk when this returns."""
    cohort, work = party.cohort, seat.work
    parts = {**_update_parts(seat, party), **_count_parts(seat, party)}
    party, words = party.mask(cohort.ring.encode(parts), identity=seat.home.key)
    work.save_party(party.terms.cohort, party.to_json())
    data = words.tobytes()
    manifest = _manifest(seat, party, data)
    _carry_over(seat, sha256_hex(data))
    if work.manifest != manifest or not work.holds(parse(UpdateManifest, manifest.document)):
        work.finish(data, manifest)
    return party


def _update_parts(seat: Seat, party: Party) -> Parts:
    """The integers of our update; none in a cohort that only counts."""
    if seat.order.kind == "evaluate":
        return {}
    path, segment = seat.work.plain_path, party.cohort.ring.places[0].segment
    if not path.exists():
        raise RoundUnknown(expected="the update that waits to be masked", got="no such file on this machine")
    found = _quantised(seat, party, unpack(path.read_bytes(), seat.terms.layout), segment)
    if found.clipped:
        log.warning("round %d: %d values beyond %g were cut", seat.order.round, found.clipped, segment.bound)
    return {segment.name: found.integers}


def _count_parts(seat: Seat, party: Party) -> Parts:
    """The integers of our counts, where this cohort counts."""
    segments = count_segments(party.terms.segments)
    if not segments:
        return {}
    counts = seat.work.counts
    if counts is None:
        raise RoundUnknown(expected=f"our counts of version {seat.order.base_number}", got="none on this machine")
    return dict(evaluation_integers(counts, seat.terms.plan.evaluation.bins, segments))


def _quantised(seat: Seat, party: Party, plain: Array, segment: Segment) -> Quantised:
    """To the nearest integer; rotated coordinates, of few bits, up or down by chance, so that the mean is unbiased.

    Under institution_dp with this bank's share of noise, from a key that this cohort alone has.
    """
    factor, pinned = party.cohort.factor_of(party.institution), seat.work.pinned
    if (clip := clip_of(seat.terms.plan)) is not None:
        stream = Stream(seat.work.noise_key(party.terms.cohort))
        return noised(plain, segment, clip=clip, factor=factor, stream=stream)
    if not is_rotated(segment):
        return quantise(plain, segment, factor=factor)
    random = np.random.Generator(np.random.Philox(key=[pinned.seed if pinned else 0, ROUNDING_STREAM]))
    return quantise(Rotation(party.cohort.rid).forward(plain), segment, factor=factor, uniform=random.random)


def _carry_over(seat: Seat, digest: str) -> None:
    """What the bank keeps with this update lies from now on under the name that WorkOrders will give it."""
    if seat.order.kind == "evaluate":
        return
    memory, number = seat.terms.memory, seat.order.round
    if own := memory.recall(sha256_hex(seat.work.plain_path.read_bytes())):
        memory.keep(digest, number, own)


def _manifest(seat: Seat, party: Party, data: bytes) -> Signed:
    ready = _ready(seat.work)
    manifest = UpdateManifest(
        run=ready.run, manifest_digest=ready.manifest_digest, round=ready.round, attempt=ready.attempt,
        base_number=ready.base_number, base_digest=ready.base_digest, institution=ready.institution, agent_id=ready.agent_id,
        update_digest=sha256_hex(data), update_bytes=len(data),
        codec="none" if seat.order.kind == "evaluate" else seat.terms.plan.compression.codec,
        plain_bytes=ready.plain_bytes, rows=ready.rows, norm=None,
        steps=ready.steps, train_loss=None, training_s=ready.training_s, privacy=ready.privacy, masked=party.masked,
        environment=ready.environment,
    )
    return sign_document(manifest, seat.home.key)


def _ready(work: WorkFolder) -> UpdateReady:
    ready = work.ready
    if ready is None:
        raise RoundUnknown(expected="an update that waits to be masked", got="none")
    return parse(UpdateReady, ready.document)
