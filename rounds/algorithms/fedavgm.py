"""FedAvgM: the server steps along a momentum of the mean differences (Hsu et al. 2019, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable

from clientagent.wire.strategies import number_of
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """v <- beta v + mean, w <- w + eta v."""
    beta, eta = number_of(facts.strategy, "momentum"), number_of(facts.strategy, "server_learning_rate")

    def step(piece: Piece) -> Step:
        momentum = beta * piece.state["momentum"] + weighted_sum(piece.updates, facts.weights)
        return Step(eta * momentum, {"momentum": momentum})

    return step


STRATEGY = Strategy(
    name="fedavgm", title="FedAvgM", begin=begin, paper="Hsu et al. 2019, arXiv:1909.06335",
    choose_when=_("When FedAvg goes the right way but slowly or in zigzags: momentum at the portal smooths and speeds it."),
)
