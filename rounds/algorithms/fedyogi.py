"""FedYogi: like FedAdam, but the second moment moves towards the square by a bounded step (Reddi et al. 2021, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clientagent.wire.strategies import number_of
from rounds.algorithms.fedadagrad import TAU
from rounds.algorithms.fedadam import BETA_2
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """m <- b1 m + (1 - b1) mean, v <- v - (1 - b2) mean^2 sign(v - mean^2), w <- w + eta m / (sqrt(v) + tau).

    A version of a part of the banks takes that part of eta, as in FedAdam.
    """
    beta = number_of(facts.strategy, "momentum")
    eta = number_of(facts.strategy, "server_learning_rate") * facts.part

    def step(piece: Piece) -> Step:
        mean = weighted_sum(piece.updates, facts.weights)
        first = beta * piece.state["momentum"] + (1 - beta) * mean
        square, second = mean * mean, piece.state["second_moment"]
        second = second - (1 - BETA_2) * square * np.sign(second - square)
        return Step(eta * first / (np.sqrt(second) + TAU), {"momentum": first, "second_moment": second})

    return step


STRATEGY = Strategy(
    name="fedyogi", title="FedYogi", begin=begin, paper="Reddi et al. 2021, arXiv:2003.00295",
    choose_when=_("Like FedAdam, steadier where the banks' differences change abruptly from round to round."),
)
