"""Ditto: a personal model at each bank, held near the global one, which is FedAvg's (Li et al. 2021, algorithm 1)."""

from __future__ import annotations

from rounds.algorithms.fedavg import begin
from rounds.algorithms.strategy import Strategy, _

STRATEGY = Strategy(
    name="ditto", title="Ditto", begin=begin, paper="Li et al. 2021, arXiv:2012.04221",
    choose_when=_("When each bank also wants a model of its own: it stays there, near the common one. Costs twice the training."),
)
