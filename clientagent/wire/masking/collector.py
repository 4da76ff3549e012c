"""The portal's side of a cohort: which stage it is in, what it takes from whom, and what it asks next.

A ``Collector`` never changes: ``accept`` and ``close`` return the next one. All it knows is the terms, the stage and the banks'
signed documents, so rows of a table rebuild it after a crash. A stage closes when it ``is_complete``, or at its timeout with
those who have spoken; with fewer than the terms need, ``close`` raises ``CohortTooSmall`` and the cohort is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from pydantic import TypeAdapter, ValidationError

from clientagent.wire.errors import ConsistencyBroken, Malformed, StageClosed, UpdateConflict
from clientagent.wire.masking import sharing
from clientagent.wire.masking.cohort import Cohort, keys_digest, require_distinct
from clientagent.wire.secure_messages import (
    BankDocument,
    CohortDocument,
    CohortTerms,
    ConsistencySignature,
    EncryptedShares,
    KeyAdvertisement,
    KeyList,
    MaskedInput,
    ShareInbox,
    SurvivorList,
    UnmaskAnswer,
    UnmaskRequest,
)
from clientagent.wire.signing import Signed, parse


class Stage(StrEnum):
    """What the banks are awaited to send. ``consistency`` is the first half of the round's stage ``unmask``."""

    KEYS = "keys"
    SHARES = "shares"
    MASKED = "masked"
    CONSISTENCY = "consistency"
    UNMASK = "unmask"
    DONE = "done"


ORDER = list(Stage)
DOCUMENTS: dict[Stage, type[BankDocument]] = {
    Stage.KEYS: KeyAdvertisement, Stage.SHARES: EncryptedShares, Stage.MASKED: MaskedInput,
    Stage.CONSISTENCY: ConsistencySignature, Stage.UNMASK: UnmaskAnswer,
}
STAGE_OF = {str(document.model_fields["type"].default): stage for stage, document in DOCUMENTS.items()}


@dataclass(frozen=True)
class Collector:
    """A cohort as the portal sees it: ``messages`` by stage and bank."""

    terms: CohortTerms
    stage: Stage = Stage.KEYS
    messages: dict[Stage, dict[str, Signed]] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return _ADAPTER.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Collector:
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError as error:
            raise Malformed(expected="a collector as it was written", got=f"{error.error_count()} faults") from None

    @cached_property
    def cohort(self) -> Cohort:
        return Cohort(self.terms)

    # ------------------------------------------------------------------ who is in
    def spoken(self, stage: Stage) -> list[str]:
        """The banks whose document of a stage is here, in order."""
        return sorted(self.messages.get(stage, {}))

    @property
    def awaited(self) -> list[str]:
        """The banks that may still speak in this stage: members, then those who spoke in the stage before."""
        if self.stage == Stage.DONE:
            return []
        before = ORDER.index(self.stage) - 1
        able = self.spoken(ORDER[before]) if before >= 0 else list(self.cohort.members)
        return [bank for bank in able if bank not in self.messages.get(self.stage, {})]

    @property
    def survivors(self) -> list[str]:
        """Whose vectors are summed, once stage ``masked`` has closed."""
        return self.spoken(Stage.MASKED)

    @property
    def dropped(self) -> dict[str, Stage]:
        """Who fell out, and the first stage in which it was missing. The last stage does not wait for all, so it drops nobody."""
        gone: dict[str, Stage] = {}
        for stage in ORDER[: min(ORDER.index(self.stage), ORDER.index(Stage.UNMASK))]:
            for bank in self.cohort.members:
                if bank not in self.messages.get(stage, {}):
                    gone.setdefault(bank, stage)
        return gone

    @property
    def may_close(self) -> bool:
        """Whether enough have spoken for the stage to end, should the others not come."""
        return self.stage != Stage.DONE and len(self.spoken(self.stage)) >= self._needed(self.stage)

    @property
    def is_complete(self) -> bool:
        """Whether waiting longer gains nothing: all have spoken, or enough shares are here to open the sum."""
        return self.may_close and (not self.awaited or self.stage == Stage.UNMASK)

    @property
    def is_hopeless(self) -> bool:
        """Whether too few are left to end this stage, even if all that are awaited spoke."""
        able = len(self.spoken(self.stage)) + len(self.awaited)
        return self.stage != Stage.DONE and able < self._needed(self.stage)

    # -------------------------------------------------------------------- taking
    def accept(self, signed: Signed) -> Collector:
        """Take one bank's document. The same one again changes nothing, even late.

        Raises ``StageClosed``, ``UpdateConflict`` for a second one, and what the document's own checks raise.
        """
        stage = STAGE_OF.get(str(signed.document.get("type")))
        if stage is None:
            raise Malformed(expected=f"one of {', '.join(STAGE_OF)}", got=str(signed.document.get("type"))[:60])
        bank = self.cohort.open(signed, DOCUMENTS[stage]).institution
        here = self.messages.get(stage, {}).get(bank)
        if here is not None and here.digest == signed.digest:
            return self
        if stage != self.stage or (here is None and bank not in self.awaited):
            raise StageClosed(expected=f"what stage {self.stage} awaits", got=f"stage {stage} of {bank}")
        if here is not None:
            raise UpdateConflict(expected=f"one document of {bank} in stage {stage}", got="a second, different one")
        self._check(stage, signed)
        return replace(self, messages={**self.messages, stage: {**self.messages.get(stage, {}), bank: signed}})

    def close(self) -> Collector:
        """End this stage with those who have spoken. Raises ``CohortTooSmall``, or ``StageClosed`` after the last."""
        if self.stage == Stage.DONE:
            raise StageClosed(expected="a stage to close", got="a cohort that is done")
        self.cohort.require_enough(self.spoken(self.stage), self._needed(self.stage))
        return replace(self, stage=ORDER[ORDER.index(self.stage) + 1])

    def _needed(self, stage: Stage) -> int:
        return self.terms.threshold if stage in (Stage.CONSISTENCY, Stage.UNMASK) else self.cohort.needed

    def _check(self, stage: Stage, signed: Signed) -> None:
        match parse(DOCUMENTS[stage], signed.document):
            case KeyAdvertisement() as keys:
                require_distinct([*self.advertisements.values(), keys])
            case EncryptedShares() as shares:
                expected = [bank for bank in self.spoken(Stage.KEYS) if bank != shares.institution]
                _require_told(sorted(shares.boxes) == expected and shares.keys_digest == self.keys_digest, "key list")
            case MaskedInput() as masked:
                told = masked.keys_digest == self.keys_digest and masked.dealers == self.spoken(Stage.SHARES)
                _require_told(told and masked.words == self.cohort.ring.words, "dealers and size")
            case ConsistencySignature() as word:
                _require_told(word == self._consistency_of(word.institution), "survivor list")
            case UnmaskAnswer() as answer:
                self._check_answer(answer)

    def _check_answer(self, answer: UnmaskAnswer) -> None:
        told = sorted(answer.self_shares) == self.survivors and sorted(answer.pair_shares) == self._left
        _require_told(told, "unmasking request")
        for dealer, share in answer.self_shares.items():
            sharing.check_share(share, self.cohort, dealer=dealer, holder=answer.institution, kind="self")
        for dealer, share in answer.pair_shares.items():
            sharing.check_share(share, self.cohort, dealer=dealer, holder=answer.institution, kind="pair")

    # -------------------------------------------------------------------- asking
    def notice(self, institution: str) -> CohortDocument | CohortTerms:
        """What this bank needs in order to speak in this stage; the portal signs it."""
        rid = self.cohort.rid
        match self.stage:
            case Stage.KEYS:
                return self.terms
            case Stage.SHARES:
                return KeyList(rid=rid, advertisements=self._signed(Stage.KEYS))
            case Stage.MASKED:
                return ShareInbox(rid=rid, institution=institution, boxes=self._boxes(institution))
            case Stage.CONSISTENCY:
                return SurvivorList(rid=rid, inputs=self._signed(Stage.MASKED))
            case Stage.UNMASK:
                return UnmaskRequest(
                    rid=rid, self_of=self.survivors, pair_of=self._left, consistency=self._signed(Stage.CONSISTENCY)
                )
        raise StageClosed(expected="a cohort that still asks", got="one that is done")

    def _boxes(self, holder: str) -> dict[str, str]:
        dealt = {dealer: parse(EncryptedShares, one.document) for dealer, one in self.messages[Stage.SHARES].items()}
        return {dealer: shares.boxes[holder] for dealer, shares in sorted(dealt.items()) if dealer != holder}

    def _signed(self, stage: Stage) -> list[Signed]:
        return [self.messages[stage][bank] for bank in self.spoken(stage)]

    # ------------------------------------------------------------------- knowing
    @cached_property
    def advertisements(self) -> dict[str, KeyAdvertisement]:
        return {bank: parse(KeyAdvertisement, one.document) for bank, one in self.messages.get(Stage.KEYS, {}).items()}

    @cached_property
    def answers(self) -> dict[str, UnmaskAnswer]:
        return {bank: parse(UnmaskAnswer, one.document) for bank, one in self.messages.get(Stage.UNMASK, {}).items()}

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of the survivors' masked vectors: what an AggregationManifest names."""
        masked = sorted(self.messages.get(Stage.MASKED, {}).items())
        return {bank: parse(MaskedInput, one.document).digest for bank, one in masked}

    @cached_property
    def keys_digest(self) -> str:
        return keys_digest(self._signed(Stage.KEYS))

    @property
    def _left(self) -> list[str]:
        """Who dealt shares and then sent no vector: only their pair masks remain in the sum."""
        return [bank for bank in self.spoken(Stage.SHARES) if bank not in self.survivors]

    def _consistency_of(self, bank: str) -> ConsistencySignature:
        return ConsistencySignature(
            rid=self.cohort.rid, institution=bank, keys_digest=self.keys_digest, dealers=self.spoken(Stage.SHARES),
            inputs=self.inputs,
        )


_ADAPTER = TypeAdapter(Collector)


def _require_told(same: bool, what: str) -> None:
    if not same:
        raise ConsistencyBroken(expected=f"the {what} that the portal sent", got="another one")
