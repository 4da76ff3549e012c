"""An agent's update at the door: opened, checked, accepted once; what is refused is refused with its reason on the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from audit.context import speak_of
from clientagent.wire.codecs import coded_bytes, decode_file
from clientagent.wire.errors import (
    BaseMismatch,
    CodecInvalid,
    CountsInvalid,
    DigestMismatch,
    Malformed,
    ManifestMismatch,
    NotFound,
    PrivacyUnsound,
    RoundUnknown,
    TensorsMismatch,
    UpdateConflict,
)
from clientagent.wire.messages import EvaluationCounts, UpdateManifest
from clientagent.wire.metrics import from_sparse
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import adapts, base_clip
from clientagent.wire.signing import Signed
from clientagent.wire.strategies import LOSSES_COUNT, STEPS_COUNT, steps_of, uplink_layout
from clientagent.wire.tensors import Layout, check_file
from clientagent.wire.weights import layout_of
from institutions.authentication import AgentIdentity
from rounds import crashing
from rounds.clock import now
from rounds.lifecycle import WORKING, Phase
from rounds.models import Blob, Evaluation, ModelVersion, Participation, Receipt, Round, Run, Update
from rounds.selectors.metrics import split_metrics
from rounds.services.buffer import destination
from rounds.services.masked import check_masked, is_in_time, is_masked, take_masked
from rounds.services.moves import actor_of_agent, hint_after_commit, hold_run, record
from rounds.services.statements import earlier_receipt, issue_receipt, open_statement
from rounds.storage import blobs

NEARLY = 1 - 1e-4
"""An update that was cut is this near to the clip, float32's rounding and the margin below it included."""


def layout_for(run: Run) -> Layout:
    return layout_of(run.plan.document, run.inputs or 0)


def uplink_for(run: Run) -> Layout:
    """What an update of this run holds once it is plain."""
    return uplink_layout(run.plan.document, run.inputs or 0)


@dataclass(frozen=True)
class Checked:
    """An update's vector as the portal found it: its L2 norm (None for words under a mask), and the digest of the plain file where a
    codec stood for one."""

    norm: float | None
    decoded: str | None = None


_OF_A_PLACE = (
    "phase", "slot", "institution__slug", "seat__rows", "seat__state", "round__number", "round__attempt", "round__state",
    "round__base__number", "round__base__digest", "round__base__clip", "round__base__run", "round__run__state", "round__run__closing_at",
    "round__run__manifest", "round__run__manifest_digest", "round__run__inputs", "round__run__plan__text",
)
"""What judging an update reads; a row has dozens of columns more."""


def find_participation(identity: AgentIdentity, run_id: str, number: int, attempt: int) -> Participation:
    """This bank's place in a round. Raises ``RoundUnknown``."""
    row = (
        Participation.objects.select_related("round__run__plan", "round__base", "seat", "institution")
        .filter(institution_id=identity.institution_id, round__run_id=run_id, round__number=number, slot=attempt)
        .only(*_OF_A_PLACE).first()
    )
    if row is None:
        got = f"run {run_id}, round {number}, attempt {attempt}"
        raise RoundUnknown(expected="a round that this bank takes part in", got=got)
    return row


def check_manifest(participation: Participation, manifest: UpdateManifest) -> None:
    """Everything that can be judged before a byte of the update is read. Raises the refusal that fits."""
    round_, run = participation.round, participation.round.run
    if manifest.manifest_digest != run.manifest_digest:
        raise ManifestMismatch(expected=run.manifest_digest[:16], got=manifest.manifest_digest[:16])
    if (manifest.base_number, manifest.base_digest) != (round_.base.number, round_.base.digest):
        raise BaseMismatch(
            expected=f"version {round_.base.number} ({round_.base.digest[:16]})",
            got=f"version {manifest.base_number} ({manifest.base_digest[:16]})",
        )
    if manifest.rows != participation.seat.rows:
        raise CountsInvalid(expected=f"the {participation.seat.rows} rows declared in the run's manifest", got=str(manifest.rows))
    if is_masked(run):
        check_masked(participation, manifest)
        return
    if manifest.masked is not None:
        raise Malformed(expected="a plain update, as the plan says", got="a masked one")
    _check_size(run, manifest)
    _check_claims(run.plan.document, manifest)
    if manifest.counts is not None:
        check_counts(run, participation.institution.slug, manifest.counts, round_.base)


def _check_size(run: Run, manifest: UpdateManifest) -> None:
    plan, layout = run.plan.document, uplink_for(run)
    least, most = coded_bytes(plan.compression, layout)
    if manifest.codec != plan.compression.codec:
        raise CodecInvalid(expected=f"an update under the plan's codec {plan.compression.codec}", got=manifest.codec)
    if not least <= manifest.update_bytes <= most:
        bounds = f"{most}" if least == most else f"{least} to {most}"
        raise TensorsMismatch(expected=f"an update of {bounds} bytes", got=f"{manifest.update_bytes} bytes")
    if manifest.plain_bytes != layout.file_bytes:
        raise TensorsMismatch(expected=f"{layout.file_bytes} bytes without a codec", got=f"{manifest.plain_bytes} bytes")


def _check_claims(plan: Plan, manifest: UpdateManifest) -> None:
    """Figures beside the vectors that move the result under this plan. Raises ``CountsInvalid``."""
    if (manifest.within_clip is not None) != adapts(plan):
        got = "none" if manifest.within_clip is None else "one"
        raise CountsInvalid(expected="a word on the clip where the plan's adapts, and only there", got=got)
    name, steps = plan.strategy.name, steps_of(plan, manifest.rows)
    if name in STEPS_COUNT and manifest.steps != steps:
        raise CountsInvalid(expected=f"the {steps} steps that the plan makes of {manifest.rows} rows", got=str(manifest.steps))
    if name in LOSSES_COUNT and manifest.base_loss is None and manifest.rows:
        raise CountsInvalid(expected=f"the base's loss on the training rows, which {name} needs", got="none")


def check_counts(run: Run, slug: str, counts: EvaluationCounts, version: ModelVersion) -> None:
    """Counts must be of this version and of the rows that the bank declared. Raises ``CountsInvalid``."""
    declared = run.roster[slug]
    if (counts.number, counts.version_digest) != (version.number, version.digest):
        raise CountsInvalid(expected=f"counts of version {version.number}", got=f"of version {counts.number}")
    for split, rows in ((counts.validation, declared.validation_rows), (counts.holdout, declared.holdout_rows)):
        if split.rows != rows:
            raise CountsInvalid(expected=f"{rows} rows as declared", got=str(split.rows))
        from_sparse(split, run.plan.document.evaluation.bins)


@dataclass(frozen=True)
class Whole:
    """An update's bytes on disk, not yet in the store, and their digest as the portal computed it."""

    path: Path
    digest: str


def check_bytes(participation: Participation, manifest: UpdateManifest, whole: Whole) -> Checked:
    """Digest, shapes, types, finiteness; what a codec made small is in the store as a plain file afterwards."""
    if whole.digest != manifest.update_digest:
        raise DigestMismatch(expected=manifest.update_digest, got=whole.digest)
    return check_numbers(participation, manifest, whole.path)


def check_numbers(participation: Participation, manifest: UpdateManifest, path: Path) -> Checked:
    """What ``check_bytes`` asks of bytes whose digest is, or is about to be, the manifest's."""
    run = participation.round.run
    if is_masked(run):
        return Checked(None)
    compression, layout = run.plan.document.compression, uplink_for(run)
    if compression.codec == "none":
        return Checked(_within_clip(participation, manifest, check_file(path, layout)))
    with blobs.writing(limit=layout.file_bytes) as plain:
        norm = decode_file(path, compression, layout, plain.write)
        return Checked(norm, plain.keep())


def _within_clip(participation: Participation, manifest: UpdateManifest, norm: float) -> float:
    """Privacy of a bank rests on no update being longer than the clip; one that was cut is as long. Raises ``PrivacyUnsound``."""
    base, plan = participation.round.base, participation.round.run.plan.document
    clip = base_clip(plan, told=base.clip, base_number=base.number)
    if clip is None:
        return norm
    if norm > clip:
        raise PrivacyUnsound(expected=f"an update of norm {clip:g} at most", got=f"{norm:.6g}")
    if manifest.within_clip is False and norm < clip * NEARLY:
        raise PrivacyUnsound(expected=f"an update that was cut to norm {clip:g}", got=f"{norm:.6g}")
    return norm


def open_manifest(identity: AgentIdentity, statement: Signed) -> UpdateManifest:
    manifest = open_statement(statement, identity, UpdateManifest)
    if manifest.agent_id != str(identity.agent_id):
        raise NotFound(expected=f"the agent {identity.agent_id}", got=manifest.agent_id)
    speak_of(run=manifest.run, round=manifest.round)
    return manifest


@transaction.atomic(durable=True)
def accept_update(
    *, identity: AgentIdentity, participation: Participation, statement: Signed, manifest: UpdateManifest, checked: Checked
) -> Receipt:
    """Accept checked bytes that are already in the blob store; the run's row is locked, so no closing can come between.

    The same update again gets the same receipt, even late; another one for the slot is ``UpdateConflict``; one that comes
    after closing is answered by a receipt that says ``late``.
    """
    hold_run(manifest.run)
    _look_again(participation)
    round_, run = participation.round, participation.round.run
    if receipt := repeated(identity, statement, manifest, participation):
        return receipt
    common = {
        "round": round_.number, "attempt": participation.slot, "institution": identity.institution_slug,
        "update_digest": manifest.update_digest, "rows": manifest.rows, "manifest": statement.model_dump(mode="json"),
    }
    counts, into = _destination(participation, run, manifest)
    if counts:
        take_masked(identity, participation, manifest)
        _store(participation, statement, manifest, checked, into)
        crashing.moving("phase:received")
    else:
        held = (Phase.RECEIVED, Phase.ACCEPTED)
        Participation.objects.filter(pk=participation.pk).exclude(phase__in=held).update(phase=Phase.LATE)
        crashing.moving("phase:late")
    entry = record(
        run, "update_accepted" if counts else "update_late", common, actor=actor_of_agent(identity.agent_id)
    )
    hint_after_commit(run)
    return issue_receipt(
        identity=identity, statement=statement, subject="update", entry=entry, run=run, round_number=round_.number,
        attempt=participation.slot, outcome="accepted" if counts else "late", update_digest=manifest.update_digest,
        update_bytes=manifest.update_bytes,
    )


def _destination(participation: Participation, run: Run, manifest: UpdateManifest) -> tuple[bool, Round | None]:
    if is_masked(run):
        return is_in_time(participation, manifest), participation.round
    return destination(participation, run)


def _look_again(participation: Participation) -> None:
    """What may have moved since it was read, as it is now that the run is locked."""
    row = Participation.objects.filter(pk=participation.pk)
    round_ = participation.round
    participation.phase, round_.state, round_.run.state, round_.run.closing_at = row.values_list(
        "phase", "round__state", "round__run__state", "round__run__closing_at"
    ).get()


def repeated(
    identity: AgentIdentity, statement: Signed, manifest: UpdateManifest, participation: Participation
) -> Receipt | None:
    """The receipt of an earlier acceptance of the same update. Raises ``UpdateConflict`` for different bytes in the same slot."""
    if participation.phase in WORKING:
        return None  # whatever was accepted, or came late, has moved it on
    if receipt := earlier_receipt(identity, statement):
        return receipt
    update = Update.objects.filter(participation=participation).first()
    if update is None:
        return None
    if update.digest == manifest.update_digest:
        return Receipt.objects.filter(institution_id=identity.institution_id, document_digest=update.manifest_digest).first()
    raise UpdateConflict(expected=update.digest, got=manifest.update_digest)


def _store(
    participation: Participation, statement: Signed, manifest: UpdateManifest, checked: Checked, into: Round | None
) -> None:
    rows = [Blob(digest=manifest.update_digest, bytes=manifest.update_bytes)]
    if checked.decoded:
        rows.append(Blob(digest=checked.decoded, bytes=manifest.plain_bytes))
    Blob.objects.bulk_create(rows, ignore_conflicts=True)
    moment = now()
    Update.objects.create(
        participation=participation, digest=manifest.update_digest, blob_id=manifest.update_digest, bytes=manifest.update_bytes,
        decoded_id=checked.decoded, plain_bytes=manifest.plain_bytes, rows=manifest.rows, norm=checked.norm, steps=manifest.steps,
        train_loss=manifest.train_loss, base_loss=manifest.base_loss,
        training_s=manifest.training_s, manifest=statement.model_dump(mode="json"), manifest_digest=statement.digest,
        received_at=moment, into=into, staleness=max(0, into.number - participation.round.number) if into else 0,
    )
    Participation.objects.filter(pk=participation.pk).update(
        phase=Phase.RECEIVED, problem=None, received_at=moment, bytes_sent=manifest.update_bytes
    )
    if manifest.counts is not None:
        store_counts(participation.round.base, participation.institution_id, manifest.counts)


def store_counts(version: ModelVersion, institution_id: int, counts: EvaluationCounts) -> None:
    """A version is evaluated once by a bank: the first counts stay."""
    bins = version.run.plan.document.evaluation.bins
    Evaluation.objects.get_or_create(
        version=version, institution_id=institution_id,
        defaults={
            "counts": counts.model_dump(mode="json"), "validation": split_metrics(counts.validation, bins),
            "holdout": split_metrics(counts.holdout, bins), "received_at": now(),
        },
    )
