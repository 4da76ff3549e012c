"""The menu of strategies: a plan's strategy name, its rule, and the sentence that says when to choose it."""

from __future__ import annotations

from dataclasses import dataclass

from clientagent.wire.errors import PlanUnsupported
from rounds.algorithms import fedavg
from rounds.algorithms.blocks import Rule


def _(sentence: str) -> str:
    """Marks a sentence for translation; the page translates it."""
    return sentence


@dataclass(frozen=True)
class Strategy:
    name: str
    title: str
    choose_when: str
    rule: Rule


STRATEGIES = {
    strategy.name: strategy
    for strategy in (
        Strategy("fedavg", "FedAvg", _("The default: banks train alone and their differences are averaged."), fedavg.combine),
    )
}


def strategy_named(name: str) -> Strategy:
    """Raises ``PlanUnsupported`` for a name that this version cannot run."""
    try:
        return STRATEGIES[name]
    except KeyError:
        raise PlanUnsupported(expected=" or ".join(STRATEGIES), got=name) from None
