"""SCAFFOLD: control variates take out of each bank's gradient how it differs from all (Karimireddy et al. 2020, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

from clientagent.wire.strategies import number_of
from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """x <- x + eta_g sum_k w_k dy_k, c <- c + sum_k p_k dc_k (equation 5).

    p_k is a bank's share among all participants, so that a bank that is absent keeps its part of c; 1/N where banks count alike.
    """
    eta = number_of(facts.strategy, "server_learning_rate")

    def step(piece: Piece) -> Step:
        control = piece.state["control"] + weighted_sum(piece.extra["control"], facts.shares)
        return Step(eta * weighted_sum(piece.updates, facts.weights), {"control": control})

    return step


STRATEGY = Strategy(
    name="scaffold", title="SCAFFOLD", begin=begin, paper="Karimireddy et al. 2020, arXiv:1910.06378",
    choose_when=_("When banks' customers differ: corrects each bank's drift; best with a step size that falls. Sends twice the bytes."),
)
