"""FedAvg: the weighted mean of the banks' differences (McMahan et al. 2017, algorithm 1)."""

from __future__ import annotations

from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, _


def begin(facts: Facts, passes: Passes) -> Averaged:
    """sum_k w_k d_k over banks k in the manifest's order."""
    return Averaged(facts.weights)


STRATEGY = Strategy(
    name="fedavg", title="FedAvg", begin=begin, paper="McMahan et al. 2017, arXiv:1602.05629",
    choose_when=_("The default: banks train alone and their differences are averaged."),
)
