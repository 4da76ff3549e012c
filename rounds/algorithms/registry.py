"""The menu of strategies: a plan's strategy name, its rule, and the sentence that says when to choose it."""

from __future__ import annotations

from clientagent.wire.errors import PlanUnsupported
from rounds.algorithms import (
    centred_clipping,
    ditto,
    fedadagrad,
    fedadam,
    fedavg,
    fedavgm,
    feddyn,
    fednova,
    fedprox,
    fedyogi,
    geometric_median,
    krum,
    median,
    multikrum,
    newton,
    norm_bound,
    qfedavg,
    scaffold,
    trimmed_mean,
)
from rounds.algorithms.strategy import Strategy

STRATEGIES: dict[str, Strategy] = {
    module.STRATEGY.name: module.STRATEGY
    for module in (
        fedavg, fedprox, fedavgm, fedadagrad, fedadam, fedyogi, scaffold, fednova, feddyn, qfedavg, ditto, newton,
        median, trimmed_mean, krum, multikrum, geometric_median, centred_clipping, norm_bound,
    )
}


def strategy_named(name: str) -> Strategy:
    """Raises ``PlanUnsupported`` for a name that this version cannot run."""
    try:
        return STRATEGIES[name]
    except KeyError:
        raise PlanUnsupported(expected=" or ".join(STRATEGIES), got=name) from None
