"""A large aggregation shared out by columns among workers: who computes first leaves a file, and one puts them together.

The worker that holds the round's lease asks the others by a Celery group and begins itself. Nothing depends on being heard: a
span that nobody has left is computed by the holder. Spans are files under a name made from the AggregationManifest's digest, so
a worker that takes over after a death finds those that are done. All workers see one blob folder, as they must anyway.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from celery import current_app, group, signature
from django.conf import settings

from rounds.algorithms.blocks import Job, Sink, aggregate_span
from rounds.algorithms.files import spans
from rounds.algorithms.geometry import Geometry, Measure
from rounds.models import Round
from rounds.storage import blobs

logger = logging.getLogger(__name__)

TASK = "rounds.tasks.compute_span"
CLAIM_S = 30.0
"""How long a worker is believed to compute a span of which nothing is heard."""
LOOK_S = 0.02


def is_worth_it(job: Job) -> bool:
    """Whether there are other workers, and columns enough, and the rule goes column by column and keeps nothing."""
    size = 4 * job.files.parameters * len(job.files.uploads.paths)
    alone = settings.CELERY_BROKER_URL.startswith("memory:")
    return not alone and size >= settings.AGGREGATION_SHARED_FROM_BYTES and job.strategy.begin is not None and job.files.state is None


def folder_of(round_: Round) -> Path:
    return blobs.root() / "spans" / f"{round_.pk}-{round_.aggregation_digest[:32]}"


def spans_of(job: Job) -> list[tuple[int, int]]:
    """[start, end) of each span."""
    width = max(1, settings.AGGREGATION_SPAN_BYTES // 4)
    return [(start, start + size) for start, size in spans(job.files.parameters, width)]


def aggregate_together(
    round_: Round, job: Job, write: Callable[[bytes], object], *, on_block: Callable[[float], object], mean: str = ""
) -> Geometry:
    """Write the next version's vector, span by span; raises what ``aggregate`` raises."""
    folder, measure, all_spans = folder_of(round_), Measure(job.facts.banks), spans_of(job)
    folder.mkdir(parents=True, exist_ok=True)
    _ask(round_, len(all_spans), mean)
    for number in reversed(range(len(all_spans))):  # the others begin at the front
        compute_span(folder, job, number, on_block=on_block)
    for number in range(len(all_spans)):
        while not _is_done(folder, number):
            on_block(0.0)
            if not compute_span(folder, job, number, on_block=on_block):
                time.sleep(LOOK_S)
        with open(_vector(folder, number), "rb") as file:
            while data := file.read(blobs.CHUNK):
                write(data)
        measure.take_in(np.load(_sums(folder, number)))
    shutil.rmtree(folder, ignore_errors=True)
    return measure.geometry


def compute_span(folder: Path, job: Job, number: int, *, on_block: Callable[[float], object] = lambda share: None) -> bool:
    """Compute one span unless it is done, or in somebody's hands; whether it was computed here."""
    if _is_done(folder, number) or not _claim(folder, number):
        return False
    try:
        _compute(folder, job, number, on_block)
    except Exception:
        _claim_path(folder, number).unlink(missing_ok=True)
        raise
    return True


def _compute(folder: Path, job: Job, number: int, on_block: Callable[[float], object]) -> None:
    span = spans_of(job)[number]
    with blobs.drafting() as vector, blobs.drafting() as sums:
        with open(vector, "xb") as file:
            measure = aggregate_span(job, Sink(file.write, None, on_block), span)
        with open(sums, "xb") as file:
            np.save(file, measure.sums)
        os.replace(vector, _vector(folder, number))
        os.replace(sums, _sums(folder, number))
    logger.info("span %d of an aggregation is computed: %d columns", number, span[1] - span[0])


def _ask(round_: Round, count: int, mean: str) -> None:
    try:
        group(signature(TASK, args=[round_.pk, number, mean], app=current_app) for number in range(count)).apply_async(retry=False)
    except Exception:  # the broker is away: whoever asks computes
        logger.warning("no other worker could be asked for help", exc_info=True)


def _claim(folder: Path, number: int) -> bool:
    """Say that this worker computes the span; a claim of somebody who was not heard of since counts no more."""
    path = _claim_path(folder, number)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return True
    except FileExistsError:
        pass
    except FileNotFoundError:  # the round is over, and its folder gone
        return False
    try:
        if time.time() - path.stat().st_mtime < CLAIM_S:
            return False
        os.utime(path)
        return True
    except FileNotFoundError:
        return False


def _claim_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.claim"


def _is_done(folder: Path, number: int) -> bool:
    return _sums(folder, number).exists()


def _vector(folder: Path, number: int) -> Path:
    return folder / f"{number}.f32"


def _sums(folder: Path, number: int) -> Path:
    """Written last: where it is, the span is whole."""
    return folder / f"{number}.npy"
