"""Which plans this version can run. A valid plan that asks for more is refused by name, never silently reduced."""

from __future__ import annotations

from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.plan import Plan

STRATEGIES = (
    "fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "fednova", "qfedavg", "newton", "scaffold", "feddyn",
    "ditto", "median", "trimmed_mean", "krum",
    "multikrum", "geometric_median", "centred_clipping", "norm_bound",
)
NUMERIC = ("zscore", "quantile", "bins", "piecewise", "woe")


def unsupported(plan: Plan) -> list[tuple[str, str]]:
    """(dotted field, what this version offers) for each choice that it cannot run yet."""
    wishes = [
        (plan.strategy.name not in STRATEGIES, "strategy.name", " or ".join(STRATEGIES)),
        (plan.preprocessing.numeric not in NUMERIC, "preprocessing.numeric", " or ".join(NUMERIC)),
    ]
    return [(field, offered) for wished, field, offered in wishes if wished]


def require_supported(plan: Plan) -> None:
    """Raises ``PlanUnsupported`` naming every field that this version cannot run."""
    if missing := unsupported(plan):
        raise PlanUnsupported(
            expected="; ".join(f"{field}: {offered}" for field, offered in missing),
            got=", ".join(field for field, _ in missing),
        )
