"""A cohort in one process: banks as ``Party``, the portal as ``Collector``, each written to bytes and read back at every step."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clientagent.wire.masking import Collector, Party, Stage, SumBlock, Words, array_reader, open_sum, reals, remaining_masks
from clientagent.wire.secure_messages import BankDocument, CohortMember, CohortTerms, Segment
from clientagent.wire.signing import PrivateKey, Signed, parse, sign_document

RUN = "00000000-0000-4000-8000-000000000001"
NAMES = [f"bank-{i:02d}" for i in range(64)]


@cache
def identity_of(name: str) -> PrivateKey:
    return PrivateKey(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def entropy_of(seed: str) -> Callable[[int], bytes]:
    """Bytes that only look random, so that no test fails by chance."""
    calls = itertools.count()
    return lambda size: hashlib.shake_256(f"{seed} {next(calls)}".encode()).digest(size)


def member(name: str, **changes: object) -> CohortMember:
    fields: dict[str, object] = {
        "institution": name, "agent_id": RUN, "public_key": identity_of(name).public.text, "weight": 1.0, "base_number": 4,
        "base_digest": "b" * 64,
    }
    return CohortMember.model_validate({**fields, **changes})


def small(parties: int) -> list[Segment]:
    return [reals("update", 5, bound=1.0, parties=parties)]


def terms_for(parties: int = 4, threshold: int = 3, **changes: object) -> CohortTerms:
    fields: dict[str, object] = {
        "purpose": "update", "project": "retail-credit", "run": RUN, "round": 5, "attempt": 1, "manifest_digest": "a" * 64,
        "members": [member(name) for name in NAMES[:parties]], "threshold": threshold, "min_cohort": 3,
        "weighting": "equal", "segments": small(parties),
    }
    return CohortTerms.model_validate({**fields, **changes})


@dataclass
class Rehearsal:
    """One cohort on its way. ``gone`` names the stage in which a bank falls silent."""

    terms: CohortTerms
    vectors: Mapping[str, Words]
    gone: Mapping[str, Stage] = field(default_factory=dict)
    seed: str = ""
    parties: dict[str, Party] = field(default_factory=dict)
    masked: dict[str, Words] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.collector = Collector(self.terms)

    def run(self, until: Stage = Stage.DONE) -> Rehearsal:
        while self.collector.stage != until:
            self.stage()
        return self

    def stage(self) -> None:
        """Let everybody who is there speak, then close."""
        stages = list(Stage)
        for bank in self.collector.awaited:
            if bank in self.gone and stages.index(self.gone[bank]) <= stages.index(self.collector.stage):
                continue
            self.collector = Collector.from_json(self.collector.accept(self.speak(bank)).to_json())
        self.collector = self.collector.close()

    def speak(self, bank: str) -> Signed:
        """One bank's document for this stage, from the portal's notice."""
        notice, identity = self.collector.notice(bank), identity_of(bank)
        party, said = self.parties.get(bank), None
        match self.collector.stage:
            case Stage.KEYS:
                entropy = entropy_of(self.seed + bank)
                party = Party.join(notice, own=self.terms, institution=bank, identity=identity, entropy=entropy)
                said = party.advertisement
            case Stage.SHARES:
                party = party.share(notice, identity=identity, entropy=entropy_of(self.seed + bank + "nonce"))
                said = party.shares
            case Stage.MASKED:
                party, self.masked[bank] = party.receive(notice).mask(self.vectors[bank], identity=identity)
                said = party.masked
            case Stage.CONSISTENCY:
                party = party.confirm(notice, identity=identity)
                said = party.consistency
            case Stage.UNMASK:
                party = party.unmask(notice, identity=identity, previous=[])
                said = party.answer
        self.parties[bank] = Party.from_json(party.to_json())
        return said

    def blocks(self) -> list[SumBlock]:
        readers = [array_reader(self.masked[bank]) for bank in self.collector.survivors]
        return list(open_sum(self.collector.cohort.ring, readers, remaining_masks(self.collector)))

    def total(self) -> dict[str, list[int]]:
        """The opened integers of each segment."""
        total: dict[str, list[int]] = {}
        for block in self.blocks():
            total.setdefault(block.segment.name, []).extend(block.integers.tolist())
        return total


def random_vectors(terms: CohortTerms, seed: int = 0) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Words]]:
    """Each bank's integers by segment, up to the very bounds, and its encoded vector."""
    rng = np.random.default_rng(seed)
    ring = Collector(terms).cohort.ring
    plain: dict[str, dict[str, np.ndarray]] = {}
    for one in terms.members:
        plain[one.institution] = {
            place.segment.name: rng.integers(
                -place.offset, place.maximum, place.segment.values, dtype=np.int64, endpoint=True
            )
            for place in ring.places
        }
    return plain, {bank: ring.encode(parts) for bank, parts in plain.items()}


def plain_sum(plain: Mapping[str, Mapping[str, np.ndarray]], banks: Sequence[str]) -> dict[str, list[int]]:
    return {name: sum(plain[bank][name] for bank in banks).tolist() for name in plain[banks[0]]}


def rehearse(terms: CohortTerms | None = None, gone: Mapping[str, Stage] | None = None, seed: int = 0) -> Rehearsal:
    terms = terms or terms_for()
    return Rehearsal(terms, random_vectors(terms, seed)[1], gone or {})


# ------------------------------------------------------------- one bank among lies
ME = "bank-00"
MINE = identity_of(ME)


def at(stage: Stage, **gone: Stage) -> tuple[Rehearsal, Any]:
    """A cohort of four that has come to a stage, and what the portal tells us in it."""
    rehearsal = rehearse(gone={name.replace("_", "-"): when for name, when in gone.items()}).run(until=stage)
    return rehearsal, rehearsal.collector.notice(ME)


def resigned(signed: Signed, model: type[BankDocument], key: PrivateKey | None = None, **changes: Any) -> Signed:
    """The same bank's document with other content, signed again by that bank, or by ``key``."""
    document = parse(model, {**signed.document, **changes})
    return sign_document(document, key or identity_of(document.institution))


def replaced(signed: list[Signed], other: Signed) -> list[Signed]:
    return [other if one.document["institution"] == other.document["institution"] else one for one in signed]
