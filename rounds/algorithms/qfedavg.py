"""q-FedAvg: banks on which the model does badly count more, the more so the larger q (Li et al. 2020, algorithm 2)."""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np

from clientagent.wire.strategies import number_of
from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, Wide, _

SMALLEST_LOSS = 1e-10
"""Added to a loss before it is raised to a power, as Flower does."""
PLACES = Context(prec=28)


def begin(facts: Facts, passes: Passes) -> Averaged:
    """w <- w - sum_k D_k / sum_k h_k, with g_k = -L d_k, D_k = F_k^q g_k and h_k = q F_k^(q-1) |g_k|^2 + L F_k^q.

    Both sums are weighted by p_k as in the objective (equation 1). A bank that reports no loss has the mean loss of the others.
    """
    q, lipschitz = number_of(facts.strategy, "q"), 1 / _step_size(facts)
    losses = _known(facts.losses) + SMALLEST_LOSS
    squares = passes.squares() * (lipschitz * lipschitz)
    largest = float(losses.max())  # only ratios of losses matter: no power can overflow
    numerators, total = np.zeros(facts.banks), 0.0
    for k, (weight, loss) in enumerate(zip(facts.weights, losses, strict=True)):
        power = weight * _power(float(loss) / largest, q)
        numerators[k] = power * lipschitz
        total += power * (q * squares[k] / loss + lipschitz)
    return Averaged(numerators / total)


def _step_size(facts: Facts) -> float:
    """1/L, the length of gradient that an update stands for: where the plan leaves it open, the local rate times the steps taken.

    The paper's L of one local step makes an update of many steps look like a huge gradient, and the model then hardly moves.
    """
    if facts.strategy.server_learning_rate is not None:
        return facts.strategy.server_learning_rate
    steps = 0.0
    for weight, taken in zip(facts.weights, facts.steps, strict=True):
        steps += weight * taken
    return facts.learning_rate * max(steps, 1.0)


def _known(losses: Wide) -> Wide:
    reported = np.isfinite(losses)
    mean = np.add.reduce(losses[reported]) / reported.sum() if reported.any() else 1.0
    return np.where(reported, losses, mean)


def _power(base: float, exponent: float) -> float:
    """In decimal: the machines' pow differs in the last bit from one to the next."""
    return float(PLACES.power(Decimal(base), Decimal(exponent)))


STRATEGY = Strategy(
    name="qfedavg", title="q-FedAvg", begin=begin, paper="Li et al. 2020, arXiv:1905.10497",
    choose_when=_("When the model must not fail any one bank: banks with a high loss pull harder. With q of 0 it is FedAvg."),
)
