"""A masked vector at the door: it comes as any update does, and is at the same time its bank's word in a cohort."""

from __future__ import annotations

from clientagent.wire.errors import DigestMismatch, Malformed, NotFound, SignatureInvalid, StageClosed, TensorsMismatch
from clientagent.wire.masking import Collector
from clientagent.wire.messages import UpdateManifest
from clientagent.wire.secure_messages import MaskedInput
from clientagent.wire.signing import Signed, parse
from institutions.authentication import AgentIdentity
from rounds.clock import now
from rounds.lifecycle import COHORT_LIVE, WORKING, CohortStage, RoundState
from rounds.models import Cohort, CohortMessage, Participation, Run
from rounds.selectors.cohorts import collector_of
from rounds.services.bank_privacy import book_masked


def is_masked(run: Run) -> bool:
    """Whether this run's updates are summed under masks."""
    return run.plan.document.privacy.secure_aggregation is not None


def check_masked(participation: Participation, manifest: UpdateManifest) -> None:
    """The manifest of a masked vector tells nothing of this bank alone, and its size is the cohort's.

    Raises ``Malformed`` for one that does, or for a plain update; ``NotFound``, ``DigestMismatch`` or ``TensorsMismatch``.
    """
    if manifest.masked is None:
        raise Malformed(expected="a masked update, as the plan says", got="a plain one", action="Do not send it again unmasked.")
    if any(one is not None for one in (manifest.norm, manifest.train_loss, manifest.base_loss, manifest.counts)):
        raise Malformed(expected="no norm, loss or counts beside a masked update", got="some")
    said = parse(MaskedInput, manifest.masked.document)
    cohort = _cohort(participation, said)
    words = collector_of(cohort).cohort.ring.words if cohort.stage in COHORT_LIVE else said.words
    if (said.words, manifest.update_bytes) != (words, 4 * words):
        raise TensorsMismatch(expected=f"{words} words of 4 bytes", got=f"{said.words} words in {manifest.update_bytes} bytes")
    if said.digest != manifest.update_digest:
        raise DigestMismatch(expected=said.digest, got=manifest.update_digest)


def _cohort(participation: Participation, said: MaskedInput) -> Cohort:
    cohort = Cohort.objects.filter(round_id=participation.round_id, rid=said.rid).first()
    if cohort is None:
        raise NotFound(expected="a cohort of this round", got=said.rid[:16])
    return cohort


def is_in_time(participation: Participation, manifest: UpdateManifest) -> bool:
    """Whether the stage still takes masked vectors; the caller holds the run."""
    cohort = _cohort(participation, parse(MaskedInput, manifest.masked.document))  # type: ignore[union-attr]
    is_open = participation.round.state == RoundState.OPEN and cohort.stage == CohortStage.MASKED
    return is_open and participation.phase in WORKING


def take_masked(identity: AgentIdentity, participation: Participation, manifest: UpdateManifest) -> None:
    """Keep the bank's word beside its vector, in the caller's transaction."""
    if manifest.masked is not None:
        cohort = _cohort(participation, parse(MaskedInput, manifest.masked.document))
        take(cohort, identity, manifest.masked)
        if not participation.round.only_counts:
            book_masked(participation.round, participation.institution, cohort.rid)


def take(cohort: Cohort, identity: AgentIdentity, statement: Signed) -> Collector:
    """Judge a word and keep it, in the caller's transaction that holds the run. Returns what the cohort is afterwards."""
    if cohort.round is None or cohort.round.state != RoundState.OPEN:
        raise StageClosed(expected="a cohort that is under way", got=f"one that is {cohort.stage}")
    return keep_word(cohort, identity, statement)


def keep_word(cohort: Cohort, identity: AgentIdentity, statement: Signed) -> Collector:
    """The same for any cohort; whether its round or run goes on is the caller's question."""
    if cohort.stage not in COHORT_LIVE:
        raise StageClosed(expected="a cohort that is under way", got=f"one that is {cohort.stage}")
    if statement.signature.key != identity.key_fingerprint:
        raise SignatureInvalid(expected="the key that signed the request", got=statement.signature.key[:16])
    after = collector_of(cohort).accept(statement)
    CohortMessage.objects.create(
        cohort=cohort, stage=cohort.stage, institution_id=identity.institution_id, signed=statement.model_dump(mode="json"),
        received_at=now(),
    )
    return after


def be_patient_with(participation: Participation) -> None:
    """A part of a large masked vector came: the stage waits its time from now on, until the round's deadline at most."""
    run = participation.round.run
    if is_masked(run):
        under_way = Cohort.objects.filter(round_id=participation.round_id, stage=CohortStage.MASKED)
        under_way.update(deadline_at=now() + run.plan.document.stage_timeout)
