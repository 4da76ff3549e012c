"""FedNova: a bank that took more local steps does not pull harder for it (Wang et al. 2020, equation 12)."""

from __future__ import annotations

import numpy as np

from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, _


def begin(facts: Facts, passes: Passes) -> Averaged:
    """w <- w + tau_eff sum_k p_k d_k / tau_k with tau_eff = sum_k p_k tau_k; banks that took no step sent no difference."""
    coefficients = np.zeros(facts.banks)
    effective = 0.0
    for weight, steps in zip(facts.weights, facts.steps, strict=True):
        effective += weight * steps
    np.divide(effective * facts.weights, facts.steps, out=coefficients, where=facts.steps > 0)
    return Averaged(coefficients)


STRATEGY = Strategy(
    name="fednova", title="FedNova", begin=begin, paper="Wang et al. 2020, arXiv:2007.07481",
    choose_when=_("When banks are of very different size and so take very different numbers of steps in a round."),
)
