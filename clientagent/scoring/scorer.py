"""Scores a file at the bank, block by block: score, probability, principal reasons and what would have to change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clientagent.data.check import header_problem
from clientagent.data.columns import CategoryReader, NumberReader
from clientagent.data.findings import Finding, Report, TableUnfit, Unreadable
from clientagent.data.source import Source, column_name, open_source
from clientagent.data.table import Table
from clientagent.evaluation.scores import probabilities
from clientagent.preparation.preprocess import preprocess
from clientagent.scoring.attribution import Attribution, attribute, feature_slices
from clientagent.scoring.counterfactual import Candidates, candidates_of, nearest_better
from clientagent.scoring.places import Entry, candidate_places, line_places, told
from clientagent.scoring.reasons import CHANGE, Language, Wording, code_of
from clientagent.scoring.stored import StoredModel
from clientagent.wire.errors import DataUnfit
from clientagent.wire.scorecard import scale_of, scorecard
from clientagent.wire.tensors import Array

Wide = NDArray[np.float64]
LEAST = 1e-4
"""A contribution below this share of a logit is no reason."""


@dataclass(frozen=True)
class Reason:
    """Why a customer's risk is above the average's: ``contribution`` to the logit, and the change that would take it away."""

    code: str
    feature: str
    text: str
    contribution: float
    change: str


@dataclass(frozen=True)
class Prediction:
    """``row`` counts from 1. ``score`` in the points of the plan's scale; ``probability`` of the positive label."""

    row: int
    ids: tuple[str, ...]
    score: int
    probability: float
    reasons: list[Reason]


@dataclass(frozen=True)
class Wish:
    """What the operator wants to see of each customer."""

    ids: tuple[str, ...] = ()
    reasons: int = 4
    language: Language = "en"
    wording: Wording = Wording()


class Scorer:
    """One verified model, ready to score tables."""

    def __init__(self, model: StoredModel, wish: Wish) -> None:
        self._model, self._wish = model, wish
        self._slices = feature_slices(model.spec)
        self._entries: list[Entry] = [*model.spec.numeric, *model.spec.categorical]
        self._candidates: dict[str, Candidates] = {entry.name: candidates_of(model.spec, entry) for entry in self._entries}
        self._factor, self._offset = scale_of(model.plan)
        is_card = model.plan.model.family == "scorecard"
        self._cards = scorecard(model.plan, model.spec, model.flat).cards if is_card else []

    def score(self, table: Table, ids: list[tuple[str, ...]], first_row: int) -> list[Prediction]:
        """Predictions of a table's rows, the first of which is row ``first_row`` of its file."""
        matrix = preprocess(self._model.spec, table)
        found = attribute(self._model, matrix)
        scores = self._scores(table, found.logits)
        chances = probabilities(found.logits)
        reasons = self._reasons(table, matrix, found)
        return [
            Prediction(first_row + i, ids[i], int(scores[i]), float(chances[i]), reasons[i]) for i in range(table.rows)
        ]

    def _scores(self, table: Table, logits: Wide) -> NDArray[np.int64]:
        """A scorecard's points as its table adds them up, in whole numbers; of another model the plan's scale, rounded."""
        if not self._cards:
            return np.rint(self._offset - self._factor * logits).astype(np.int64)
        total = np.zeros(table.rows, np.int64)
        for entry, card in zip(self._entries, self._cards, strict=True):
            total += np.array([line.points for line in card.lines])[line_places(entry, table)]
        return total

    def _reasons(self, table: Table, matrix: Array, found: Attribution) -> list[list[Reason]]:
        rows, wanted = table.rows, min(self._wish.reasons, len(self._entries))
        order = np.argsort(-found.contributions, axis=1, kind="stable")[:, :wanted]
        reasons: list[list[tuple[int, Reason]]] = [[] for _ in range(rows)]
        for j, entry in enumerate(self._entries):
            at, ranks = np.nonzero(order == j)
            keep = found.contributions[at, j] > LEAST
            at, ranks = at[keep], ranks[keep]
            if not len(at):
                continue
            part = table.take(at)
            changes = self._changes(entry, part, matrix[at], found.logits[at] - found.contributions[at, j])
            for i, row in enumerate(at.tolist()):
                kind, value, typical = told(entry, part, i)
                text = self._wish.wording.sentence(kind, entry.name, self._wish.language, value=value, typical=typical)
                amount = float(found.contributions[row, j])
                reasons[row].append((int(ranks[i]), Reason(code_of(kind, entry.name), entry.name, text, amount, changes[i])))
        return [[reason for _, reason in sorted(found, key=lambda pair: pair[0])] for found in reasons]

    def _changes(self, entry: Entry, part: Table, matrix: Array, wanted: Wide) -> list[str]:
        if entry.name in self._wish.wording.fixed:
            return [""] * part.rows
        candidates = self._candidates[entry.name]
        places = candidate_places(entry, part, len(candidates.words))
        to, logits = nearest_better(self._model, matrix, self._slices[entry.name], places, candidates, wanted)
        scores = np.rint(self._offset - self._factor * np.nan_to_num(logits)).astype(int)
        template = CHANGE[self._wish.language]
        return [
            template.replace("{score}", str(scores[i])).replace("{better}", candidates.words[place]).replace("{feature}", entry.name)
            if place >= 0
            else ""
            for i, place in enumerate(to.tolist())
        ]


# ------------------------------------------------------------------------------- files
@dataclass
class Scoring:
    """A file that fits a model, opened. Iterating scores it, block after block."""

    scorer: Scorer
    model: StoredModel
    path: Path
    source: Source
    ids: tuple[str, ...]

    def __iter__(self) -> Iterator[list[Prediction]]:
        names = [entry.name for entry in (*self.model.spec.numeric, *self.model.spec.categorical)]
        columns = list(dict.fromkeys([*map(column_name, names), *self.ids]))
        done = 0
        for rows, block in self.source.blocks(columns):
            table = self._table(rows, block)
            cells = [_texts(block[name]) for name in self.ids]
            ids: list[tuple[str, ...]] = list(zip(*cells, strict=True)) if cells else [()] * rows
            yield self.scorer.score(table, ids, done + 1)
            done += rows
        problems = self.source.findings() if done else [Finding("", f"{self.path.name} has a header but no rows")]
        if problems:
            raise TableUnfit(Report(self.path, problems=problems))

    def _table(self, rows: int, block: dict[str, Any]) -> Table:
        """Raises ``TableUnfit`` naming a value that cannot be read."""
        numbers = {entry.name: NumberReader(entry.name) for entry in self.model.spec.numeric}
        texts = {entry.name: CategoryReader(entry.name) for entry in self.model.spec.categorical}
        problems: list[Finding] = []
        readers: list[NumberReader | CategoryReader] = [*numbers.values(), *texts.values()]
        for reader in readers:
            reader.add(block[column_name(reader.name)])
            problems += reader.findings()
        if problems:
            raise TableUnfit(Report(self.path, problems=problems))
        return Table(
            rows, {name: reader.numbers() for name, reader in numbers.items()},
            {name: reader.categories() for name, reader in texts.items()}, np.empty(0, np.int8),
        )  # fmt: skip


def open_scoring(model: StoredModel, path: Path, wish: Wish) -> Scoring:
    """Raises ``TableUnfit`` naming every column that is missing, or why the file cannot be read; ``DataUnfit`` for an id."""
    try:
        source = open_source(path)
    except Unreadable as error:
        raise TableUnfit(Report(path, problems=[error.finding])) from error
    entries = (*model.spec.numeric, *model.spec.categorical)
    found = [header_problem(entry.name, source.names) for entry in entries]
    problems = [problem for problem in found if problem]
    if problems:
        raise TableUnfit(Report(path, problems=problems))
    ids = tuple(column_name(name) for name in wish.ids)
    if absent := [name for name in ids if source.names.count(name) != 1]:
        raise DataUnfit(expected=f"a column {', '.join(absent)} in {path.name}", got="none, or several", action="Correct --id.")
    return Scoring(Scorer(model, wish), model, path, source, ids)


def _texts(values: Any) -> list[str]:
    cells = values if isinstance(values, tuple) else values.to_pylist()
    return ["" if cell is None else str(cell) for cell in cells]
