"""The end of a run at the bank: the closing evaluation, and the result fetched, verified, stored, appraised and acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from clientagent.approval import utc_now
from clientagent.files import read_document, write_atomic, write_document
from clientagent.home import Home
from clientagent.orders import Terms
from clientagent.portal import Portal
from clientagent.wire.errors import BaseMismatch, PortalUnreachable, Refusal, TooManyRequests
from clientagent.wire.messages import Acknowledgement, Appraisal, EvaluationCounts, EvaluationReport, WorkOrder
from clientagent.wire.scorecard import as_csv, scorecard
from clientagent.wire.signing import Signed, parse, sign_document
from clientagent.wire.tensors import Array, Layout, pack, unpack

PERSONAL = "personal.safetensors"
"""Beside a version: the model that this bank trained for itself (Ditto). Nobody signed it, and nobody else has it."""
MENDED_BY_WAITING = (PortalUnreachable, TooManyRequests)

log = logging.getLogger("fedagent.results")


def report_evaluation(home: Home, terms: Terms, order: WorkOrder, count: Callable[[], EvaluationCounts]) -> Signed:
    """The signed counts of a version. A version is evaluated once: asked again, the same report. Raises ``BaseMismatch``."""
    signed = terms.folder.evaluation(order.base_number)
    if signed is None:
        report = EvaluationReport(
            run=order.run, manifest_digest=order.manifest_digest, institution=order.institution, counts=count()
        )
        signed = sign_document(report, home.key)
        terms.folder.save_evaluation(order.base_number, signed)
    counted = parse(EvaluationReport, signed.document).counts
    if counted.version_digest != order.base_digest:
        raise BaseMismatch(
            expected=f"version {order.base_number} as it was, {counted.version_digest}", got=order.base_digest,
            action="Do not go on: a version never changes. Tell the auditor.",
        )
    return signed


def report_appraisal(home: Home, portal: Portal, order: WorkOrder, make: Callable[[], Appraisal]) -> None:
    """Say what the bank found in the result, where it can; made once, and the same again however often it is sent.

    Nothing hangs on it: whatever keeps it from being made, or the portal from taking it, is logged, and the result is
    acknowledged all the same. Raises only what waiting may mend.
    """
    path = home.model_folder(order.run, order.base_number) / "appraisal.json"
    signed = read_document(path, Signed)
    try:
        if signed is None:
            signed = sign_document(make(), home.key)
            write_document(path, signed)
        portal.appraise(order.run, signed)
    except MENDED_BY_WAITING:
        raise
    except Refusal as error:
        log.warning("the result is not appraised: %s. %s", error.sentence, error.action)
    else:
        log.info("version %d is appraised", order.base_number)


def personal_of(folder: Path, layout: Layout) -> Array | None:
    """The bank's own model beside a stored result, where the plan made one."""
    path = folder / PERSONAL
    return unpack(path.read_bytes(), layout) if path.exists() else None


def collect(home: Home, portal: Portal, terms: Terms, order: WorkOrder, weights: Array) -> Signed:
    """Store the run's result with all that is needed to score with it, and this bank's own model where the plan made one.

    ``weights`` were checked against the order's digest."""
    folder = home.model_folder(order.run, order.base_number)
    signed = read_document(folder / "acknowledgement.json", Signed)
    if signed is not None and parse(Acknowledgement, signed.document).version_digest == order.base_digest:
        return signed
    write_atomic(folder / "weights.safetensors", pack(weights, terms.layout))
    if (personal := terms.memory.recall(order.aggregated).get("personal")) is not None:
        write_atomic(folder / PERSONAL, pack(personal, terms.layout))
    write_document(folder / "preprocessing.json", terms.answer.preprocessing)
    write_document(folder / "plan.json", terms.plan)
    write_document(folder / "manifest.json", terms.answer.manifest)
    if terms.plan.model.family == "scorecard":
        card = scorecard(terms.plan, terms.answer.preprocessing, weights)
        write_atomic(folder / "points.csv", as_csv(card).encode())
    acknowledgement = Acknowledgement(
        run=order.run, manifest_digest=order.manifest_digest, institution=portal.identity.institution,
        number=order.base_number, version_digest=order.base_digest, at_utc=utc_now(),
    )
    signed = sign_document(acknowledgement, home.key)
    write_document(folder / "acknowledgement.json", signed)
    return signed
