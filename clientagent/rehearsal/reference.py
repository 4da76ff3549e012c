"""What the federated model is measured against: all rows in one place, and each bank alone, trained to their best."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clientagent.data import read_table, split_rows
from clientagent.evaluation.alone import best_of
from clientagent.evaluation.scores import losses, probabilities, score
from clientagent.preparation.preprocess import Inputs, Prepared, check_spec, prepare
from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import Malformed
from clientagent.wire.messages import PreprocessingSpec
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.signing import parse
from clientagent.wire.tensors import Array, unpack
from clientagent.wire.weights import layout_of

Scores = NDArray[np.float64]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--plan", required=True)
    parser.add_argument("--banks", required=True, help="the JSON that split wrote")
    parser.add_argument("--model")
    parser.add_argument("--preprocessing")
    parser.add_argument("--no-reference", action="store_true")


@dataclass(frozen=True)
class _Bank:
    slug: str
    rows: int
    data: Prepared


def run(*, plan: str, banks: str, model: str | None, preprocessing: str | None, no_reference: bool) -> str:
    """The JSON of ``final``, ``central`` and ``local``; null where not asked for."""
    frozen = parse_plan(parse_json(_content(plan)))
    if preprocessing is None:
        raise Malformed(expected="--preprocessing FILE, the specification that the run has frozen", got="nothing")
    spec = parse(PreprocessingSpec, parse_json(_content(preprocessing)))
    check_spec(frozen, spec)
    parts = [_read(frozen, spec, row) for row in json.loads(_content(banks))]
    holdout = _together([part.data.holdout for part in parts])
    flat = unpack(_content(model), layout_of(frozen, len(spec.input_names))) if model else None
    return json.dumps({
        "final": _figures(frozen, flat, holdout) if flat is not None else None,
        "central": None if no_reference else _central(frozen, parts, holdout),
        "local": [] if no_reference else [_local(frozen, part, holdout, flat) for part in parts],
    })


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Malformed(expected=f"the file {path}", got=error.strerror or "an error") from error


def _read(plan: Plan, spec: PreprocessingSpec, row: dict[str, Any]) -> _Bank:
    table = read_table(plan, row["path"])
    return _Bank(row["institution"], int(row["rows"]), prepare(spec, table, split_rows(plan, table)))


def _together(parts: list[Inputs]) -> Inputs:
    return Inputs(np.concatenate([part.matrix for part in parts]), np.concatenate([part.labels for part in parts]))


def _central(plan: Plan, parts: list[_Bank], holdout: Inputs) -> dict[str, Any]:
    training = _together([part.data.training for part in parts])
    validation = _together([part.data.validation for part in parts])
    return {"auc": exact_auc(score(plan, best_of(plan, training, validation), holdout.matrix), holdout.labels)}


def _local(plan: Plan, part: _Bank, holdout: Inputs, flat: Array | None) -> dict[str, Any]:
    own, best = part.data.holdout, best_of(plan, part.data.training, part.data.validation)
    return {
        "institution": part.slug, "rows": part.rows,
        "auc": exact_auc(score(plan, best, holdout.matrix), holdout.labels),
        "own_auc": exact_auc(score(plan, best, own.matrix), own.labels),
        "final_own_auc": None if flat is None else exact_auc(score(plan, flat, own.matrix), own.labels),
    }


def _figures(plan: Plan, flat: Array, inputs: Inputs) -> dict[str, float | None]:
    logits = score(plan, flat, inputs.matrix)
    auc = exact_auc(logits, inputs.labels)
    chance = probabilities(logits)
    return {
        "auc": auc, "ks": exact_ks(logits, inputs.labels), "gini": None if auc is None else 2 * auc - 1,
        "logloss": float(np.mean(losses(logits, inputs.labels))), "brier": float(np.mean((chance - inputs.labels) ** 2)),
    }


def exact_auc(scores: Scores, labels: NDArray[np.int8]) -> float | None:
    """The Mann-Whitney statistic with ties at half (Hanley & McNeil 1982); None with one class."""
    bad = labels == 1
    positives, negatives = int(bad.sum()), int((~bad).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][bad].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def exact_ks(scores: Scores, labels: NDArray[np.int8]) -> float | None:
    """The largest gap between the two classes' cumulative score distributions; None with one class."""
    bad = labels == 1
    if bad.all() or not bad.any():
        return None
    _, inverse = np.unique(scores, return_inverse=True)
    below = np.bincount(inverse, bad).cumsum() / bad.sum() - np.bincount(inverse, ~bad).cumsum() / (~bad).sum()
    return float(np.abs(below).max())
