"""The one interface of all strategies: what a rule is told, what it may look at, and what it answers for a piece of the model.

A strategy works column by column. ``begin`` is told the round's facts and may look at the updates as a whole; what it returns is
then called for one piece of coordinates after the other and never sees more than that piece. Elementwise in a fixed order and in
float64, so that equal manifests give equal bits on any machine. The rare strategy that needs everything at once (second order)
has ``solve`` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.plan import Strategy as StrategyPart

Block = NDArray[np.float32]
Wide = NDArray[np.float64]
State = dict[str, Wide]


def _(sentence: str) -> str:
    """Marks a sentence for translation; the page translates it."""
    return sentence


@dataclass(frozen=True)
class Facts:
    """A round beside its vectors. Arrays are (banks,) in the order of the AggregationManifest.

    ``weights``: how much each update counts, as the manifest says. ``shares``: how much its bank counts among all
    ``participants`` of the run. ``losses``: mean loss of the base on the bank's training rows, NaN where not reported. ``part``:
    how much of a round of all banks this step stands for; below 1 where a buffer of a few updates makes a version.
    """

    strategy: StrategyPart
    weights: Wide
    shares: Wide
    rows: Wide
    steps: Wide
    losses: Wide
    round: int
    participants: int
    learning_rate: float
    part: float = 1.0

    @property
    def banks(self) -> int:
        return len(self.weights)


class Passes(Protocol):
    """Looks at the updates as a whole. Each call reads all of them once."""

    def squares(self) -> Wide:
        """Squared norms (banks,)."""

    def gram(self, *, beside: str | None = None) -> Wide:
        """Inner products (banks, banks); with the server's vector ``beside`` as one more row and column at the end."""


@dataclass(frozen=True)
class Piece:
    """The same columns of everything: ``updates`` (banks, width), each of ``extra`` likewise, each of ``state`` (width,)."""

    updates: Block
    extra: Mapping[str, Block] = field(default_factory=dict)
    state: Mapping[str, Wide] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What becomes of a piece: the ``difference`` to the base and the server's new vectors, each (width,)."""

    difference: Wide
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Sums:
    """For ``solve``: the base (parameters,), sum_k weight_k / rows_k of what the banks summed over their rows, and the state."""

    base: Wide
    totals: Mapping[str, Wide]
    state: Mapping[str, Wide]


Begin = Callable[[Facts, Passes], Callable[[Piece], Step]]
Solve = Callable[[Facts, Sums], Step]


@dataclass(frozen=True)
class Strategy:
    """An entry of the menu. ``choose_when`` is the sentence beside it in the form."""

    name: str
    title: str
    choose_when: str
    paper: str
    begin: Begin | None = None
    solve: Solve | None = None


def weighted_sum(block: Block, coefficients: Wide) -> Wide:
    """sum_k c_k x_k in the order of the rows; block (banks, width), coefficients (banks,), result (width,)."""
    total = np.zeros(block.shape[1])
    product, wide = np.empty_like(total), np.empty_like(total)
    for coefficient, row in zip(coefficients, block, strict=True):
        np.copyto(wide, row)
        np.multiply(wide, coefficient, out=product)
        np.add(total, product, out=total)
    return total


@dataclass(frozen=True)
class Averaged:
    """The plainest answer: a fixed combination of the updates, nothing kept."""

    coefficients: Wide

    def __call__(self, piece: Piece) -> Step:
        return Step(weighted_sum(piece.updates, self.coefficients))
