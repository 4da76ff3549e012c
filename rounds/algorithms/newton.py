"""Newton's method for logistic regression from the banks' summed gradients and Hessians (Boyd & Vandenberghe, algorithm 9.5).

What the banks send adds up exactly to the gradient and Hessian of all rows together, so the portal takes the very steps that one
machine with all rows would take. A step that raises the loss is taken back and shortened in the next round: the banks' sums at a
version are also the test of the step that led there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clientagent.wire.strategies import number_of
from rounds.algorithms.cholesky import solve as solve_system
from rounds.algorithms.strategy import Facts, Step, Strategy, Sums, Wide, _

TOLERANCE = 1e-6
"""Relative. Losses travel through float32 sums: a smaller rise is rounding."""
SHORTEST = 1e-3
BIAS = 0
"""The bias is the first weight of a logistic layout and is not penalised."""


@dataclass(frozen=True)
class Line:
    """The step under test: ``loss`` and ``slope`` at the anchor, its ``length``, and the ``rows`` behind the anchor's loss."""

    is_set: float
    loss: float
    slope: float
    length: float
    rows: float


def solve(facts: Facts, sums: Sums) -> Step:
    """The next point: on from here, or back to a shorter step from the anchor where the loss of the base rose."""
    ridge = number_of(facts.strategy, "ridge")
    line = Line(*(float(value) for value in sums.state["line"]))
    loss, rows = _loss(facts, sums.base, ridge), float(np.float32(np.add.reduce(facts.rows)))
    rose = loss > line.loss + TOLERANCE * (1 + abs(line.loss))
    if rose and line.is_set and line.rows == rows and line.length > SHORTEST:
        length = _shorter(line, loss)
        point = sums.state["anchor"] + length * sums.state["direction"]
        kept = {name: sums.state[name] for name in ("anchor", "direction")}
        return Step(point - sums.base, {**kept, "line": np.array([1.0, line.loss, line.slope, length, rows])})
    gradient, hessian = _penalised(sums, ridge)
    direction = solve_system(hessian, -gradient)
    slope = float(np.add.reduce(direction * gradient))
    state = {"anchor": sums.base, "direction": direction, "line": np.array([1.0, loss, slope, 1.0, rows])}
    return Step(direction, state)


def _penalised(sums: Sums, ridge: float) -> tuple[Wide, Wide]:
    """Gradient (n,) and Hessian (n, n) of the mean loss plus ridge/2 |w|^2, the Hessian unpacked from its upper triangle."""
    size = len(sums.base)
    penalty = np.full(size, ridge)
    penalty[BIAS] = 0.0
    hessian = np.zeros((size, size))
    hessian[np.triu_indices(size)] = sums.totals["hessian"]
    hessian += np.triu(hessian, 1).T
    hessian[np.diag_indices(size)] += penalty
    return sums.totals["gradient"] + penalty * sums.base, hessian


def _loss(facts: Facts, base: Wide, ridge: float) -> float:
    loss = 0.0
    for weight, own in zip(facts.weights, facts.losses, strict=True):
        loss += weight * own if np.isfinite(own) else 0.0
    weights = base[BIAS + 1 :]
    return loss + ridge / 2 * float(np.add.reduce(weights * weights))


def _shorter(line: Line, loss: float) -> float:
    """The minimum of the parabola through what is known of the line (Nocedal & Wright, equation 3.57), within 0.1 to 0.5."""
    curve = 2 * (loss - line.loss - line.slope * line.length)
    best = -line.slope * line.length**2 / curve if curve > 0 else 0.0
    return min(max(best, 0.1 * line.length), 0.5 * line.length)


STRATEGY = Strategy(
    name="newton", title="Newton", solve=solve, paper="Boyd & Vandenberghe 2004, section 9.5; Nelder & Wedderburn 1972",
    choose_when=_("For logistic models: reaches the model of all rows together in a handful of rounds, from sums over rows."),
)
