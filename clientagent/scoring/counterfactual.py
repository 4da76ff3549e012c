"""What would have to change: for one feature of a customer, the nearest value with which the model asks no more than of others.

Each candidate is a bin of the frozen specification, put in the feature's place and scored by the model itself, all else as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Categories, Table
from clientagent.evaluation.scores import score
from clientagent.preparation.preprocess import preprocess
from clientagent.scoring.places import Entry, bins_between
from clientagent.scoring.stored import StoredModel
from clientagent.wire.messages import CategoricalInput, CategoricalWoe, PreprocessingSpec
from clientagent.wire.messages.preprocessing import bin_words
from clientagent.wire.tensors import Array

Wide = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Values that a feature might have: in ``words``, and as inputs (candidates, inputs of the feature). Numbers ascend."""

    words: list[str]
    inputs: Array
    ordered: bool


def candidates_of(spec: PreprocessingSpec, entry: Entry) -> Candidates:
    empty = np.empty(0, np.int8)
    if isinstance(entry, CategoricalInput | CategoricalWoe):
        names = entry.categories
        column = Categories(np.arange(len(names), dtype=np.int32), names)
        alone = PreprocessingSpec(plan_hash=spec.plan_hash, numeric=[], categorical=[entry])
        return Candidates(names, preprocess(alone, Table(len(names), {}, {entry.name: column}, empty)), ordered=False)
    edges = bins_between(entry)
    inside = np.array([*edges, edges[-1] + max(edges[-1] - edges[0], 1.0)] if edges else [], np.float64)
    alone = PreprocessingSpec(plan_hash=spec.plan_hash, numeric=[entry], categorical=[])
    words = bin_words(edges) if edges else []
    return Candidates(words, preprocess(alone, Table(len(inside), {entry.name: inside}, {}, empty)), ordered=True)


def nearest_better(
    model: StoredModel, matrix: Array, part: slice, places: Places, candidates: Candidates, wanted: Wide
) -> tuple[Places, Wide]:
    """For each row of ``matrix`` (rows, inputs) the candidate to change to, -1 where none is better, and the logit with it.

    ``places`` (rows,): the candidate where the row is now, -1 for none. ``wanted`` (rows,): a logit that is good enough. The
    nearest candidate that reaches it, else the best one there is.
    """
    rows, count = len(matrix), len(candidates.words)
    if not count:
        return np.full(rows, -1), np.full(rows, np.nan)
    logits = np.empty((rows, count))
    changed = matrix.copy()
    for i in range(count):
        changed[:, part] = candidates.inputs[i]
        logits[:, i] = score(model.plan, model.flat, changed)
    current = score(model.plan, model.flat, matrix)
    order = np.arange(count)
    far = np.abs(order[None, :] - places[:, None]) if candidates.ordered else np.broadcast_to(order, (rows, count))
    far = np.where(places[:, None] < 0, 0, far)
    reaches = logits <= wanted[:, None] + 1e-6
    nearest = np.where(reaches, far * 1e6 + logits, np.inf).argmin(axis=1)
    chosen = np.where(reaches.any(axis=1), nearest, logits.argmin(axis=1))
    after = logits[np.arange(rows), chosen]
    better = (after < current - 1e-6) & (chosen != places)
    return np.where(better, chosen, -1), np.where(better, after, np.nan)
