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
    masked, bank = plan.privacy.secure_aggregation is not None, plan.privacy.institution_dp
    private = plan.privacy.record_dp is not None
    wishes = [
        (plan.strategy.name not in STRATEGIES, "strategy.name", " or ".join(STRATEGIES)),
        (plan.preprocessing.numeric not in NUMERIC, "preprocessing.numeric", " or ".join(NUMERIC)),
        (masked and plan.schedule.mode != "sync", "schedule.mode", "sync under secure aggregation"),
        (masked and bank is not None and bank.clip == "adaptive", "privacy.institution_dp.clip", "a number under secure aggregation"),
        (masked and plan.compression.codec not in ("none", "int8"), "compression.codec", "none or int8 under secure aggregation"),
        (plan.evaluation.segment is not None and masked, "evaluation.segment", "null under secure aggregation"),
        (plan.evaluation.segment is not None and private, "evaluation.segment", "null under record-level privacy"),
        (plan.evaluation.gains and private, "evaluation.gains", "false under record-level privacy"),
    ]
    return [(field, offered) for wished, field, offered in wishes if wished]


def require_supported(plan: Plan) -> None:
    """Raises ``PlanUnsupported`` naming every field that this version cannot run."""
    if missing := unsupported(plan):
        raise PlanUnsupported(
            expected="; ".join(f"{field}: {offered}" for field, offered in missing),
            got=", ".join(field for field, _ in missing),
        )
