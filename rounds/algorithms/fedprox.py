"""FedProx: banks are held near the base by mu/2 |w - base|^2 as they train (Li et al. 2020, equation 2); the portal averages."""

from __future__ import annotations

from rounds.algorithms.fedavg import begin
from rounds.algorithms.strategy import Strategy, _

STRATEGY = Strategy(
    name="fedprox", title="FedProx", begin=begin, paper="Li et al. 2020, arXiv:1812.06127",
    choose_when=_("When banks differ much or train for several epochs and the averaged model jumps from round to round."),
)
