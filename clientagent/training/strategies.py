"""What a strategy asks of a bank's training, in numpy: what is added to each gradient, what leaves beside the update, what stays.

A bank's own vectors (control variates, past gradients, a personal model, what a codec left out) belong to the update with which
they were made. They are stored beside it, and the next round starts from those of the last update that the portal says it used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clientagent.wire.plan import Plan
from clientagent.wire.strategies import Vectors, number_of
from clientagent.wire.tensors import Array


@dataclass(frozen=True)
class Given:
    """What a round gives to a bank's training beside plan and rows.

    ``share``: the bank's weight in the RunManifest's roster of ``participants`` banks. ``server``: vectors that the portal sends
    with the base. ``own``: what this bank kept with its last update that was used; empty before.
    """

    base: Array
    share: float
    participants: int
    server: Vectors = field(default_factory=dict)
    own: Vectors = field(default_factory=dict)

    def vector(self, name: str, source: Vectors) -> Array:
        """A vector of ``source``, or zeros before there is one."""
        return source.get(name, np.zeros_like(self.base))


@dataclass(frozen=True)
class Correction:
    """gradient <- gradient + slope * (weights - anchor) + pull, in every step; vectors are (parameters,).

    ``averages``: the mean of the gradients before this correction is wanted in the end.
    """

    slope: float = 0.0
    anchor: Array | None = None
    pull: Array | None = None
    averages: bool = False

    @property
    def is_idle(self) -> bool:
        return not self.slope and self.pull is None and not self.averages


def correction(plan: Plan, given: Given) -> Correction:
    """What the plan's strategy adds to the gradients of the common model."""
    match plan.strategy.name:
        case "fedprox":  # Li et al. 2020, equation 2
            return Correction(number_of(plan.strategy, "mu"), given.base)
        case "scaffold":  # Karimireddy et al. 2020, equation 3: g - c_i + c
            pull = given.vector("control", given.server) - given.vector("control", given.own)
            return Correction(pull=pull, averages=True)
        case "feddyn":  # Acar et al. 2021, equation 1: -<past gradient, w> + alpha/2 |w - base|^2
            return Correction(_alpha(plan, given), given.base, -given.vector("gradient", given.own))
        case _:
            return Correction()


def beside(plan: Plan, given: Given, mean_gradient: Array | None) -> Vectors:
    """What leaves the bank beside the update. ``mean_gradient`` (parameters,): of the uncorrected gradients, None without a step.

    SCAFFOLD, option II of algorithm 1: c_i+ - c_i with c_i+ = c_i - c + (x - y) / (K eta), which for plain SGD is the mean of the
    gradients met on the way. As that mean it also makes sense for Adam, whose steps are not in units of a gradient.
    """
    if plan.strategy.name != "scaffold":
        return {}
    before = given.vector("control", given.own)
    return {"control": np.zeros_like(before) if mean_gradient is None else mean_gradient - before}


def own_after(plan: Plan, given: Given, sent: Vectors, personal: Array | None = None) -> Vectors:
    """What stays at the bank and counts once the update was used.

    ``sent``: "update" and what left beside it, as the portal will read them after any codec, so that both sides add up the same.
    """
    match plan.strategy.name:
        case "scaffold":
            return {"control": given.vector("control", given.own) + sent["control"]}
        case "feddyn":  # algorithm 1: past gradient <- past gradient - alpha (w - base)
            past = given.vector("gradient", given.own)
            return {"gradient": past - np.float32(_alpha(plan, given)) * sent["update"]}
        case "ditto" if personal is not None:
            return {"personal": personal}
        case _:
            return {}


def personal_start(plan: Plan, given: Given) -> tuple[Array, Correction] | None:
    """Where Ditto's personal model starts in this round and what holds it near the base; None for other strategies.

    Li et al. 2021, algorithm 1: v <- v - eta (gradient(v) + lambda (v - w)). The first one starts from the base.
    """
    if plan.strategy.name != "ditto":
        return None
    return given.own.get("personal", given.base), Correction(number_of(plan.strategy, "mu"), given.base)


def _alpha(plan: Plan, given: Given) -> float:
    """FedDyn's alpha for this bank, larger where its rows count less, as in its authors' code: the server counts all alike."""
    counts = given.share * given.participants
    return number_of(plan.strategy, "mu") / counts if counts > 0 else number_of(plan.strategy, "mu")
