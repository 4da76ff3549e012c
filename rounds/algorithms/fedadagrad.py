"""FedAdagrad: each weight's step shrinks with the differences that it has seen (Reddi et al. 2021, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clientagent.wire.strategies import number_of
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum

TAU = 1e-3
"""The degree of adaptivity (Reddi et al. 2021, section 5.2 and table 8)."""


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """v <- v + mean^2, w <- w + eta mean / (sqrt(v) + tau); beta_1 is 0 as in the paper's experiments."""
    eta = number_of(facts.strategy, "server_learning_rate")

    def step(piece: Piece) -> Step:
        mean = weighted_sum(piece.updates, facts.weights)
        second = piece.state["second_moment"] + mean * mean
        return Step(eta * mean / (np.sqrt(second) + TAU), {"second_moment": second})

    return step


STRATEGY = Strategy(
    name="fedadagrad", title="FedAdagrad", begin=begin, paper="Reddi et al. 2021, arXiv:2003.00295",
    choose_when=_("When inputs are sparse, such as many rare categories: weights that seldom move keep large steps."),
)
