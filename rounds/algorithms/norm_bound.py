"""Norm bound: the mean of updates that are first cut to a greatest length (Sun et al. 2019, section 4)."""

from __future__ import annotations

import numpy as np

from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, _


def begin(facts: Facts, passes: Passes) -> Averaged:
    """sum_k w_k d_k min(1, bound / |d_k|); where the plan leaves the bound open it is the median length of the round."""
    lengths = np.sqrt(passes.squares())
    bound = float(np.median(lengths)) if facts.strategy.bound is None else facts.strategy.bound
    return Averaged(facts.weights * np.divide(bound, lengths, out=np.ones(facts.banks), where=lengths > bound))


STRATEGY = Strategy(
    name="norm_bound", title="Norm bound", begin=begin, paper="Sun et al. 2019, arXiv:1911.07963",
    choose_when=_("A seat belt for any number of banks: FedAvg in which no bank can pull harder than a typical one."),
)
