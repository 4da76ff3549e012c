"""From a closed round's manifest to what the mathematics takes: facts as arrays, blobs as files. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.canonical import sha256_hex
from clientagent.wire.errors import DigestMismatch
from clientagent.wire.messages import AggregationManifest
from clientagent.wire.plan import Strategy as StrategyPart
from clientagent.wire.privacy.institution import noise_blocks
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.strategies import server_layout, uplink_layout
from clientagent.wire.tensors import Layout
from rounds.algorithms.blocks import Job, RoundFiles, Sink, aggregate
from rounds.algorithms.files import FlatFile, StateFile, StateWriter, Uploads
from rounds.algorithms.registry import strategy_named
from rounds.algorithms.strategy import Facts
from rounds.engine import sharing
from rounds.engine.unmasking import store_mean
from rounds.models import Round, Run
from rounds.services.buffer import in_manifest_order
from rounds.services.masked import is_masked
from rounds.services.publishing import Aggregated
from rounds.storage import blobs


def aggregate_round(
    round_: Round, layout: Layout, *, on_block: Callable[[float], object], updates: Sequence[Path] | None = None
) -> Aggregated:
    """Compute the next version in the order of the manifest that the closing round has committed.

    ``updates``: plain files to read in place of the stored ones, in the same order. Masked updates are opened first: their mean
    is what the strategy sees. Raises ``Overflowed``, ``RingExceeded``, ``ShareInvalid`` and ``OSError``.
    """
    opened = store_mean(round_, layout, on_block=on_block) if is_masked(round_.run) else None
    mean, counts = (opened.mean, opened.counts) if opened else ("", None)
    noise = store_noise(round_, layout)
    job = job_of(round_, layout, updates=updates, mean=mean, noise=noise)
    kept = job.files.state.layout if job.files.state else None
    with blobs.writing() as writer, _state_writer(kept) as state:
        writer.write(layout.header)
        if sharing.is_worth_it(job) and updates is None and not noise:
            geometry = sharing.aggregate_together(round_, job, writer.write, on_block=on_block, mean=mean)
        else:
            geometry = aggregate(job.strategy, job.facts, job.files, Sink(writer.write, state.writer if state else None, on_block))
        state_digest = state.keep() if state else None
        return Aggregated(writer.keep(), layout.file_bytes, state_digest, kept.file_bytes if kept else 0, geometry, mean, noise, counts)


def job_of(round_: Round, layout: Layout, *, updates: Sequence[Path] | None = None, mean: str = "", noise: str = "") -> Job:
    """Rule, facts and files of a closed round. ``mean``: the digest of an opened mean, which takes the place of masked updates.

    ``noise``: the digest of what the privacy of banks adds to their sum; to the strategy it is one update more.
    """
    run = round_.run
    manifest = AggregationManifest.model_validate(Round.objects.values_list("aggregation", flat=True).get(pk=round_.pk))
    facts = facts_of(manifest, run)
    if mean:
        facts, updates = facts_of_mean(facts), [blobs.path_of(mean)]
    if noise:
        facts, updates = facts_with_noise(facts), [*(updates or paths_of(round_)), blobs.path_of(noise)]
    kept = server_layout(facts.strategy.name, layout.parameters)
    base_state = manifest.base_state_digest
    files = RoundFiles(
        FlatFile(blobs.path_of(manifest.base_digest), len(layout.header)),
        Uploads(updates or paths_of(round_), offsets_of(run, layout)), layout.parameters,
        StateFile(kept, blobs.path_of(base_state) if base_state else None) if kept else None,
    )
    return Job(strategy_named(facts.strategy.name), facts, files)


def paths_of(round_: Round) -> list[Path]:
    """The plain files of a closed round's updates, in the manifest's order."""
    return [blobs.path_of(update.decoded_id or update.digest) for update in in_manifest_order(round_)]


def offsets_of(run: Run, layout: Layout) -> dict[str, int]:
    """Where each vector of an update starts in its file. The model's own tensors together are ``update``."""
    uplink = uplink_layout(run.plan.document, run.inputs or 0)
    return {"update": len(layout.header)} if uplink == layout else {name: uplink.offset_of(name) for name in uplink.names}


def facts_of(manifest: AggregationManifest, run: Run) -> Facts:
    """What the strategy is told, arrays in the manifest's order."""
    plan, entries = run.plan.document, manifest.entries
    losses = [np.nan if entry.base_loss is None else entry.base_loss for entry in entries]
    return Facts(
        strategy=StrategyPart.model_validate(manifest.strategy),
        weights=np.array([entry.weight for entry in entries], np.float64),
        shares=np.array([entry.share for entry in entries], np.float64),
        rows=np.array([entry.rows for entry in entries], np.float64),
        steps=np.array([entry.steps for entry in entries], np.float64),
        losses=np.array(losses, np.float64),
        round=manifest.round,
        participants=manifest.participants,
        learning_rate=plan.learning_rate_in(manifest.round),
        part=min(1.0, len(entries) / manifest.participants) if plan.schedule.mode == "async" else 1.0,
    )


def facts_of_mean(facts: Facts) -> Facts:
    """The same round to a strategy that is shown the mean of its updates as one update of weight 1."""
    return replace(
        facts, weights=np.ones(1), shares=facts.shares.sum(keepdims=True), rows=facts.rows.sum(keepdims=True),
        steps=np.zeros(1), losses=np.full(1, np.nan),
    )


def facts_with_noise(facts: Facts) -> Facts:
    """The same round with noise for the *sum* of its equally weighted updates, which counts in their mean as one of them does."""
    def beside(values: NDArray[np.float64], value: float) -> NDArray[np.float64]:
        return np.append(values, value)

    return replace(
        facts, weights=beside(facts.weights, 1 / len(facts.weights)), shares=beside(facts.shares, 0.0),
        rows=beside(facts.rows, 0.0), steps=beside(facts.steps, 0.0), losses=beside(facts.losses, np.nan),
    )


def store_noise(round_: Round, layout: Layout) -> str:
    """The digest of the noise that the round's manifest has committed, in the store as a plain update; empty where there is none.

    Raises ``DigestMismatch`` where the key is not the committed one.
    """
    document, key = Round.objects.values_list("aggregation", "noise_key").get(pk=round_.pk)
    said = AggregationManifest.model_validate(document).noise
    if said is None:
        return ""
    secret = bytes.fromhex(key)
    if sha256_hex(secret) != said.key_digest:
        raise DigestMismatch(expected=said.key_digest, got=sha256_hex(secret))
    with blobs.writing() as writer:
        writer.write(layout.header)
        for block in noise_blocks(layout.parameters, said.noise_multiplier * said.clip, Stream(secret)):
            writer.write(block.view(np.uint8).data)
        return writer.keep()


class _State:
    """The server's next vectors on their way into the store."""

    def __init__(self, writer: StateWriter, path: Path) -> None:
        self.writer, self._path = writer, path

    def keep(self) -> str:
        """Close the file and move it into the store; returns its digest."""
        self.writer.close()
        return blobs.adopt(self._path)


@contextmanager
def _state_writer(layout: Layout | None) -> Iterator[_State | None]:
    if layout is None:
        yield None
        return
    with blobs.drafting() as path:
        state = _State(StateWriter(layout, path), path)
        try:
            yield state
        finally:
            state.writer.close()
