"""Multi-Krum: the mean of the n - f updates with the best Krum scores (Blanchard et al. 2017, section 5)."""

from __future__ import annotations

from rounds.algorithms.gram import distances
from rounds.algorithms.krum import chosen_alike, scores
from rounds.algorithms.strategy import Averaged, Facts, Passes, Strategy, _


def begin(facts: Facts, passes: Passes) -> Averaged:
    byzantine = facts.strategy.byzantine
    return Averaged(chosen_alike(scores(distances(passes.gram()), byzantine), max(1, facts.banks - byzantine)))


STRATEGY = Strategy(
    name="multikrum", title="Multi-Krum", begin=begin, paper="Blanchard et al. 2017, arXiv:1703.02757",
    choose_when=_("When hostile updates would lie far from the others: leaves out the outliers and averages the rest."),
)
