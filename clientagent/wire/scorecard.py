"""A scorecard's points: what each bin of each feature adds to the score, from a logistic model on weights of evidence.

Score = base score + factor * (ln odds of good - ln base odds), factor = PDO / ln 2 (Siddiqi 2006, chapter 6): higher is better,
and ``points_to_double`` more points are twice the odds. The logit of the model is ln odds of bad; its bias is shared out equally
among the features, so that a customer's score is the sum of its bins' points.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.messages import CategoricalWoe, Evidence, PreprocessingSpec, WoeInput
from clientagent.wire.messages.preprocessing import bin_words
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array
from clientagent.wire.weights import layout_of

COLUMNS = ("feature", "bin", "points", "points_exact", "woe", "weight", "good", "bad")
OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class Line:
    """One bin. ``exact`` are its points; ``points`` the whole number that a card shows."""

    feature: str
    bin: str
    exact: float
    woe: float
    good: int
    bad: int

    @property
    def points(self) -> int:
        return round(self.exact)

    @property
    def bad_share(self) -> float | None:
        return self.bad / (self.good + self.bad) if self.good + self.bad else None


@dataclass(frozen=True)
class Card:
    """One feature. ``lines``: its bins in the order of ``Evidence`` in the specification, then others, then missing."""

    feature: str
    weight: float
    iv: float
    lines: list[Line]

    @property
    def is_against_evidence(self) -> bool:
        """Whether more evidence of good costs points, because other features say the same and more."""
        return self.weight > 0

    @property
    def spread(self) -> int:
        """Points between the best and the worst bin that holds customers."""
        points = [line.points for line in self.lines if line.good + line.bad]
        return max(points) - min(points) if points else 0


@dataclass(frozen=True)
class Scorecard:
    """``factor`` and ``offset``: score = offset - factor * logit."""

    factor: float
    offset: float
    cards: list[Card]

    def score(self, logit: float) -> float:
        return self.offset - self.factor * logit


def scale_of(plan: Plan) -> tuple[float, float]:
    """(factor, offset) of the plan's base score, base odds and points that double the odds."""
    factor = plan.model.points_to_double / math.log(2)
    return factor, plan.model.base_score - factor * math.log(plan.model.base_odds)


def scorecard(plan: Plan, spec: PreprocessingSpec, flat: Array) -> Scorecard:
    """The points of a version's flat vector (parameters,). Raises ``PlanUnsupported`` for a model that is no scorecard."""
    if plan.model.family != "scorecard":
        raise PlanUnsupported(expected="model.family: scorecard", got=plan.model.family, action="Only a scorecard has points.")
    tensors = layout_of(plan, len(spec.input_names)).unflatten(flat)
    weights, bias = tensors["layers.0.weight"][0], float(tensors["layers.0.bias"][0])
    factor, offset = scale_of(plan)
    entries = [entry for entry in (*spec.numeric, *spec.categorical) if isinstance(entry, WoeInput | CategoricalWoe)]
    shared = (offset - factor * bias) / len(entries)
    cards = [_card(entry, float(weight), factor, shared) for entry, weight in zip(entries, weights, strict=True)]
    return Scorecard(factor, offset, cards)


def bins_of(entry: WoeInput | CategoricalWoe) -> Iterator[tuple[str, Evidence]]:
    """(words, evidence) of each bin, then of missing."""
    if isinstance(entry, WoeInput):
        yield from zip(bin_words(entry.edges), entry.bins, strict=True)
    else:
        yield from zip(entry.categories, entry.bins, strict=True)
        yield OTHER, entry.other
    yield MISSING, entry.missing


def _card(entry: WoeInput | CategoricalWoe, weight: float, factor: float, shared: float) -> Card:
    lines = [
        Line(entry.name, words, shared - factor * weight * evidence.woe, evidence.woe, evidence.good, evidence.bad)
        for words, evidence in bins_of(entry)
    ]
    return Card(entry.name, weight, entry.iv, lines)


def as_csv(card: Scorecard) -> str:
    """The points table for a spreadsheet or a decision engine; texts that a spreadsheet would run are quoted."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for one in card.cards:
        for line in one.lines:
            numbers = (line.points, round(line.exact, 4), line.woe, one.weight, line.good, line.bad)
            writer.writerow([_cell(line.feature), _cell(line.bin), *numbers])
    return text.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
