"""From a closed round's manifest to what the mathematics takes: facts as arrays, blobs as files. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clientagent.wire.messages import AggregationManifest
from clientagent.wire.plan import Strategy as StrategyPart
from clientagent.wire.tensors import Layout
from rounds import blobs
from rounds.algorithms.blocks import RoundFiles, Sink, aggregate
from rounds.algorithms.files import FlatFile, Uploads
from rounds.algorithms.geometry import Geometry
from rounds.algorithms.registry import strategy_named
from rounds.algorithms.strategy import Facts
from rounds.models import Round, Run


def aggregate_round(
    round_: Round, layout: Layout, *, write: Callable[[bytes], object], on_block: Callable[[float], object], mean: str = ""
) -> Geometry:
    """Write the vector of the next version, in the order of the manifest that the closing round has committed.

    ``mean``: the digest of an opened mean, which takes the place of the masked updates.
    """
    manifest = AggregationManifest.model_validate(Round.objects.values_list("aggregation", flat=True).get(pk=round_.pk))
    facts = facts_of(manifest, round_.run)
    facts = facts_of_mean(facts) if mean else facts
    offset = len(layout.header)
    digests = [mean] if mean else [entry.update_digest for entry in manifest.entries]
    uploads = Uploads([blobs.path_of(digest) for digest in digests], {"update": offset})
    files = RoundFiles(FlatFile(blobs.path_of(round_.base.digest), offset), uploads, layout.parameters)
    return aggregate(strategy_named(facts.strategy.name), facts, files, Sink(write, on_block=on_block))


def facts_of(manifest: AggregationManifest, run: Run) -> Facts:
    """What the strategy is told, arrays in the manifest's order."""
    plan, roster = run.plan.document, run.roster
    return Facts(
        strategy=StrategyPart.model_validate(manifest.strategy),
        weights=np.array([entry.weight for entry in manifest.entries], np.float64),
        shares=np.array([roster[entry.institution].weight for entry in manifest.entries], np.float64),
        rows=np.array([entry.rows for entry in manifest.entries], np.float64),
        steps=np.zeros(len(manifest.entries)),
        losses=np.full(len(manifest.entries), np.nan),
        round=manifest.round,
        participants=len(roster),
        learning_rate=plan.training.learning_rate_at(plan.model.family, manifest.round, plan.schedule.rounds),
    )


def facts_of_mean(facts: Facts) -> Facts:
    """The same round to a strategy that is shown the mean of its updates as one update of weight 1."""
    one = np.ones(1)
    return replace(
        facts, weights=one, shares=facts.shares.sum(keepdims=True), rows=facts.rows.sum(keepdims=True),
        steps=np.zeros(1), losses=np.full(1, np.nan),
    )
