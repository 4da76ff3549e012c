"""FedDyn: each bank's objective carries its past gradients, so that all minima come together (Acar et al. 2021, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rounds.algorithms.strategy import Facts, Passes, Piece, Step, Strategy, _, weighted_sum


def begin(facts: Facts, passes: Passes) -> Callable[[Piece], Step]:
    """drift <- drift + 1/m sum_P d_k, w <- w + 1/|P| sum_P d_k + drift.

    drift is the paper's -h / alpha, as in its authors' code. All banks count alike here; how much a bank's rows count is in the
    alpha that it trains with (``clientagent.training.strategies``).
    """
    alike = np.full(facts.banks, 1 / facts.banks)

    def step(piece: Piece) -> Step:
        mean = weighted_sum(piece.updates, alike)
        drift = piece.state["drift"] + mean * (facts.banks / facts.participants)
        return Step(mean + drift, {"drift": drift})

    return step


STRATEGY = Strategy(
    name="feddyn", title="FedDyn", begin=begin, paper="Acar et al. 2021, arXiv:2111.04263",
    choose_when=_("When banks differ and rounds are many: converges to the model of all rows together. Start with a small mu."),
)
