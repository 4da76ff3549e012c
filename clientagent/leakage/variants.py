"""The plans that a self-test compares: the plan itself, kept small enough to attack, and the same without its protections."""

from __future__ import annotations

from typing import Any

from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.plan import Plan, parse_plan

WIDEST = 64
"""Units of a hidden layer that is attacked; wider ones leak more to the first attack, and take too long."""


def attackable(plan: Plan) -> Plan:
    """The plan with hidden layers of at most ``WIDEST`` units. Raises ``PlanUnsupported`` where nothing is trained, and for plugins."""
    if plan.model.is_plugin:
        raise PlanUnsupported(
            expected="model.family: logistic, mlp or scorecard", got="a plugin, whose first layer the attacks do not know",
            action="Test the same plan with an mlp of about this size.",
        )
    if plan.training.epochs == 0 and plan.strategy.name != "newton":
        raise PlanUnsupported(
            expected="training.epochs: 1 or more", got="0: such updates are empty", action="Test a plan that trains."
        )
    return _with(plan, model={"hidden": [min(width, WIDEST) for width in plan.model.hidden]})


def is_narrowed(plan: Plan) -> bool:
    return plan.model.family == "mlp" and max(plan.model.hidden, default=0) > WIDEST


def unprotected(plan: Plan) -> Plan:
    """The plan's training as it is, with nothing added to what it makes."""
    open_ = {"record_dp": None, "institution_dp": None, "secure_aggregation": None}
    return _with(plan, privacy=open_, compression={"codec": "none"})


def bare_gradient(plan: Plan, rows: int) -> Plan:
    """One plain step over all of a bank's rows: the update is the gradient itself, times the step size."""
    one_step = {
        "epochs": 1, "batch_size": rows, "optimiser": "sgd", "decay": "none", "weight_decay": 0.0, "class_weight": "none",
        "learning_rate": 0.1,
    }  # fmt: skip
    return _with(
        unprotected(plan), training=one_step, model={"dropout": 0.0}, strategy={"name": "fedavg", "mixing": "none"}
    )


def _with(plan: Plan, **parts: dict[str, Any]) -> Plan:
    document = plan.model_dump(mode="json")
    for name, fields in parts.items():
        document[name].update(fields)
    return parse_plan(document)
