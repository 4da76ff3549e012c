"""Secure aggregation in one process: real banks' ``Party`` against a real ``Collector``, and what the portal then holds."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clientagent.wire.masking import (
    UPDATE,
    Collector,
    Party,
    Stage,
    Words,
    array_reader,
    clip_of,
    dequantise,
    noised,
    open_sum,
    quantise,
    remaining_masks,
    threshold_for,
    update_segments,
)
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.discrete import Integers
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.privacy.stream import KEY_BYTES, Stream
from clientagent.wire.secure_messages import CohortTerms, Segment
from clientagent.wire.signing import PrivateKey, Signed, parse
from clientagent.wire.tensors import Array

RUN = "00000000-0000-4000-8000-000000000000"


def masked_and_opened(plan: Plan, updates: list[Array], rng: np.random.Generator) -> tuple[Array, Array]:
    """From updates (parameters,) of a cohort: the first bank's masked words, read as an update, and the opened mean."""
    keys = {f"bank-{i:05d}": PrivateKey(Ed25519PrivateKey.from_private_bytes(rng.bytes(32))) for i in range(len(updates))}
    terms = _terms(plan, keys, len(updates[0]))
    segment = terms.segments[0]
    collector = Collector(terms)
    parties: dict[str, Party] = {}
    masked: dict[str, Words] = {}
    ring = collector.cohort.ring
    vectors = {
        name: ring.encode({UPDATE: _integers(plan, update, segment, rng)}) for name, update in zip(keys, updates, strict=True)
    }
    while collector.stage != Stage.DONE:
        for name in collector.awaited:
            parties[name], said = _speak(collector, name, parties.get(name), keys[name], vectors[name], masked, rng)
            collector = collector.accept(said)
        collector = collector.close()
    readers = [array_reader(masked[name]) for name in collector.survivors]
    total = np.concatenate([block.integers for block in open_sum(ring, readers, remaining_masks(collector))])
    words = masked[next(iter(keys))].astype(np.int64) - ring.places[0].offset
    return dequantise(words, segment).astype(np.float32), (dequantise(total, segment) / len(updates)).astype(np.float32)


def opened_mean(plan: Plan, updates: list[Array], rng: np.random.Generator) -> Array:
    """The mean that a cohort opens, without its talk: the sum of the same whole numbers."""
    segment = _segments(plan, len(updates[0]), len(updates))[0]
    total = np.sum(np.array([_integers(plan, update, segment, rng) for update in updates], np.int64), axis=0)
    return (dequantise(np.asarray(total), segment) / len(updates)).astype(np.float32)


def _segments(plan: Plan, parameters: int, banks: int) -> list[Segment]:
    noise = institution_terms(plan).noise_multiplier if plan.privacy.institution_dp else None
    return update_segments(plan, parameters, banks, noise_multiplier=noise)


def _integers(plan: Plan, update: Array, segment: Segment, rng: np.random.Generator) -> Integers:
    """What one bank adds to the sum: with its share of noise, where the plan promises privacy to banks."""
    clip = clip_of(plan)
    if clip is None:
        return quantise(update, segment).integers.astype(np.int64)
    return noised(update, segment, clip=clip, factor=1.0, stream=Stream(rng.bytes(KEY_BYTES))).integers.astype(np.int64)


def _terms(plan: Plan, keys: dict[str, PrivateKey], parameters: int) -> CohortTerms:
    secure = plan.privacy.secure_aggregation
    if secure is None:
        raise ValueError("a plan without secure aggregation has no cohorts")
    return parse(CohortTerms, {
        "purpose": "update", "project": plan.project, "run": RUN, "round": 1, "attempt": 1, "manifest_digest": "0" * 64,
        "members": [
            {"institution": name, "agent_id": RUN, "public_key": key.public.text, "weight": 1.0, "base_number": 0,
             "base_digest": "0" * 64}
            for name, key in keys.items()
        ],
        "threshold": threshold_for(secure.threshold, len(keys)), "min_cohort": secure.min_cohort, "weighting": "equal",
        "segments": _segments(plan, parameters, len(keys)),
    })  # fmt: skip


def _speak(
    collector: Collector, name: str, party: Party | None, key: PrivateKey, vector: Words, masked: dict[str, Words],
    rng: np.random.Generator,
) -> tuple[Party, Signed]:  # fmt: skip
    """One bank's word in this stage; in the masked stage its words go to ``masked`` too."""
    notice = collector.notice(name)
    if party is None:
        party = Party.join(notice, own=collector.terms, institution=name, identity=key, entropy=rng.bytes)  # type: ignore[arg-type]
        return party, party.advertisement
    match collector.stage:
        case Stage.SHARES:
            party = party.share(notice, identity=key, entropy=rng.bytes)  # type: ignore[arg-type]
        case Stage.MASKED:
            party, masked[name] = party.receive(notice).mask(vector, identity=key)  # type: ignore[arg-type]
        case Stage.CONSISTENCY:
            party = party.confirm(notice, identity=key)  # type: ignore[arg-type]
        case _:
            party = party.unmask(notice, identity=key, previous=[])  # type: ignore[arg-type]
    return party, party.said[-1]
