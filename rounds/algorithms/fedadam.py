"""FedAdam: Adam at the server on the mean differences (Reddi et al. 2021, algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from clientagent.wire.strategies import number_of
from rounds.algorithms.fedadagrad import TAU
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum

BETA_2 = 0.99


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """m <- b1 m + (1 - b1) mean, v <- b2 v + (1 - b2) mean^2, w <- w + eta' m / (sqrt(v) + tau).

    eta' corrects the bias of both moments (Kingma & Ba 2015, section 2), with the exponent round + 1 as in Flower. A step is as
    long as eta' however small the updates are, so a version of a part of the banks takes that part of it: all versions of an
    async run together move as far as the rounds of a synchronous one.
    """
    beta = number_of(facts.strategy, "momentum")
    eta = number_of(facts.strategy, "server_learning_rate") * facts.part
    eta *= math.sqrt(1 - _power(BETA_2, facts.round + 1)) / (1 - _power(beta, facts.round + 1))

    def step(piece: Piece) -> Step:
        mean = weighted_sum(piece.updates, facts.weights)
        first = beta * piece.state["momentum"] + (1 - beta) * mean
        second = BETA_2 * piece.state["second_moment"] + (1 - BETA_2) * (mean * mean)
        return Step(eta * first / (np.sqrt(second) + TAU), {"momentum": first, "second_moment": second})

    return step


def _power(base: float, exponent: int) -> float:
    """By multiplication: the libraries' pow differs in the last bit from one machine to the next."""
    product = 1.0
    for _step in range(exponent):
        product *= base
    return product


STRATEGY = Strategy(
    name="fedadam", title="FedAdam", begin=begin, paper="Reddi et al. 2021, arXiv:2003.00295",
    choose_when=_("When weights move at very different scales, as in deep models; try server learning rates from 0.01 to 0.3."),
)
