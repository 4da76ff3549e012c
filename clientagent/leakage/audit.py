"""The canary audit: is one extreme customer in or out? What that test wins bounds epsilon from below.

The canary alone has a value in one input (a category that nobody else has), as far out as inputs go. The portal watches the
weights of that input over rounds that all start from the same version, as it could ask for (Nasr et al. 2021, "Adversary
instantiation", section 4). (epsilon, delta) bounds any such test: true positives <= e^epsilon * false positives + delta (Kairouz
et al. 2015, theorem 2.1). Clopper-Pearson bounds on both rates, each at 97.5 %, give epsilon from below at 95 % (Jagielski et al.
2020, section 4); the threshold is chosen on other runs than those that count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clientagent.leakage.customers import CUT, Population
from clientagent.leakage.leaving import Exchange
from clientagent.leakage.masked import opened_mean
from clientagent.leakage.variants import bare_gradient
from clientagent.preparation.preprocess import Inputs
from clientagent.wire.strategies import steps_of
from clientagent.wire.tensors import Array, Shapes
from clientagent.wire.weights import initial_weights, layout_of

Numbers = NDArray[np.float64]
ROWS, POOL = 64, 8
"""Customers beside the canary: few, because its weight is what is watched. Updates of other banks to draw from, a round."""
CHOOSING = 0.3
"""Share of the runs on which the threshold is chosen."""
WORK, STEP_COST = 120_000, 3000
"""Gradient steps of a small model that one audit may take, and the weights at which a step costs twice as much."""
CONFIDENCE = 0.05
NEARLY = 0.35
"""How much less epsilon a threshold may show, on the runs that choose it, and still be taken for its wide gap."""
ONE = np.ones(1, np.int8)


@dataclass(frozen=True)
class Audit:
    """``epsilon`` is proven from below; ``ceiling`` is what a perfect test with as many runs would have proven."""

    epsilon: float
    ceiling: float
    rounds: int


def audit(exchange: Exchange, population: Population, *, runs: int, delta: float, rng: np.random.Generator) -> Audit:
    """``runs`` with the canary and as many without. ``exchange`` takes one input more than the population has."""
    plan, base = exchange.plan, initial_weights(exchange.plan, exchange.inputs)
    layout = layout_of(plan, exchange.inputs)
    watched = np.flatnonzero(layout.flatten(_column(layout.shapes)))
    direction = _direction(exchange, base)[watched]
    rounds = _rounds(exchange, runs, layout.parameters)
    customers = _with_canary(population.draw(ROWS, rng))
    others = [_pool(exchange, base, _without(customers), rng, 1 + r) for r in range(rounds)] if exchange.banks > 1 else []

    def scores(rows: Inputs) -> Numbers:
        """(runs, rounds): how far the watched weights went where the canary would take them."""
        found = np.empty((runs, rounds))
        for i in range(runs):
            for r in range(rounds):
                update = exchange.update(base, rows, rng, round_number=1 + r, declared=ROWS)
                if others:
                    beside = [others[r][j] for j in rng.integers(POOL, size=exchange.banks - 1)]
                    update = opened_mean(plan, [update, *beside], rng)
                found[i, r] = update[watched] @ direction
        return found

    inside, outside = scores(customers), scores(_without(customers))
    epsilon = bound_from(inside, outside, delta)
    counted = runs - round(runs * CHOOSING)
    return Audit(epsilon, lower_bound(counted, 0, counted, delta), rounds)


def _pool(exchange: Exchange, base: Array, rows: Inputs, rng: np.random.Generator, round_number: int) -> list[Array]:
    """Updates of banks beside the watched one, none of which has the canary."""
    return [exchange.update(base, rows, rng, round_number=round_number, declared=ROWS) for _ in range(POOL)]


def bound_from(inside: Numbers, outside: Numbers, delta: float) -> float:
    """Epsilon from below, from scores (runs, rounds) with and without the canary."""
    choosing = round(len(inside) * CHOOSING)
    spread = np.concatenate([inside[:choosing] - inside[:choosing].mean(axis=0), outside[:choosing] - outside[:choosing].mean(axis=0)])
    scale = spread.std(axis=0)
    weights = 1 / np.where(scale > 1e-12, scale, 1.0)
    yes, no = (inside * weights).sum(axis=1), (outside * weights).sum(axis=1)
    threshold, says_in = _chosen(yes[:choosing], no[:choosing])
    yes, no = yes[choosing:], no[choosing:]
    if says_in:
        return lower_bound(int(np.sum(yes > threshold)), int(np.sum(no > threshold)), len(yes), delta)
    return lower_bound(int(np.sum(no <= threshold)), int(np.sum(yes <= threshold)), len(yes), delta)


def _chosen(yes: Numbers, no: Numbers) -> tuple[float, bool]:
    """The threshold, and whether "in" or "out" is said beyond it: of those that do nearly best here, the one in the widest gap.

    A threshold at the edge of these few runs' noise would be crossed by the runs that count.
    """
    values = np.unique(np.concatenate([yes, no]))
    if len(values) < 2:
        return float(values[0]), True
    runs, options = len(yes), []
    for low, high in pairwise(values):
        threshold = float(low + high) / 2
        hits, alarms = int(np.sum(yes > threshold)), int(np.sum(no > threshold))
        options.append((lower_bound(hits, alarms, runs, 0.0), float(high - low), threshold, True))
        options.append((lower_bound(runs - alarms, runs - hits, runs, 0.0), float(high - low), threshold, False))
    best = max(option[0] for option in options)
    _, _, threshold, which = max((option for option in options if option[0] >= best - NEARLY), key=lambda option: option[1])
    return threshold, which


def lower_bound(hits: int, false_alarms: int, runs: int, delta: float) -> float:
    """ln((TPR - delta) / FPR) with TPR as low and FPR as high as the counts allow; 0 where that is negative."""
    least, most = clopper_pearson(hits, runs)[0] - delta, clopper_pearson(false_alarms, runs)[1]
    return max(math.log(least / most), 0.0) if least > 0 else 0.0


@lru_cache(maxsize=4096)
def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a binomial chance (Clopper & Pearson 1934), half of ``confidence`` left out on each side."""
    tail = confidence / 2
    low = 0.0 if successes == 0 else _solve(lambda p: 1 - _at_most(successes - 1, trials, p) - tail)
    high = 1.0 if successes == trials else _solve(lambda p: tail - _at_most(successes, trials, p))
    return low, high


def _solve(rising: Callable[[float], float]) -> float:
    """Where an increasing function crosses zero in 0..1."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def _at_most(successes: int, trials: int, chance: float) -> float:
    """The binomial distribution function."""
    if chance <= 0 or chance >= 1:
        return 1.0 if chance <= 0 or successes >= trials else 0.0
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(chance)
        + (trials - k) * math.log1p(-chance)
        for k in range(successes + 1)
    ]  # fmt: skip
    return min(math.fsum(math.exp(value) for value in logs), 1.0)


# ------------------------------------------------------------------------ the canary
def _with_canary(customers: Inputs) -> Inputs:
    """The same customers with one input more, which is zero but for the last of them, the canary."""
    matrix = np.concatenate([customers.matrix, np.zeros((len(customers.labels), 1), np.float32)], axis=1)
    canary = np.zeros((1, matrix.shape[1]), np.float32)
    canary[0, -1] = CUT
    return Inputs(np.concatenate([matrix, canary]), np.append(customers.labels, np.int8(1)))


def _without(customers: Inputs) -> Inputs:
    """The neighbour: all of them but the canary."""
    return Inputs(customers.matrix[:-1], customers.labels[:-1])


def _column(shapes: Shapes) -> dict[str, Array]:
    """Ones at the first layer's weights of the canary's input, zeros everywhere else."""
    marks = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    marks["layers.0.weight"][:, -1] = 1
    return marks


def _direction(exchange: Exchange, base: Array) -> Array:
    """Where the canary alone would move the weights (parameters,)."""
    canary = Inputs(_with_canary(Inputs(np.zeros((0, exchange.inputs - 1), np.float32), np.zeros(0, np.int8))).matrix, ONE)
    alone = Exchange(bare_gradient(exchange.plan, 1), exchange.inputs, exchange.features)
    return alone.update(base, canary, np.random.default_rng(0))


def _rounds(exchange: Exchange, runs: int, parameters: int) -> int:
    """One without noise, where a round tells all; else as many as the work allows. Fewer rounds can only lower the bound."""
    if exchange.plan.privacy.record_dp is None:
        return 1
    steps = steps_of(exchange.plan, ROWS) * (1 + parameters / STEP_COST)
    return max(1, min(exchange.plan.schedule.rounds, int(WORK / (2 * runs * steps))))
