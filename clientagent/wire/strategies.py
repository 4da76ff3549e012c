"""What both sides know of a strategy: its numbers where the plan leaves them open, the banks it needs, the vectors it moves."""

from __future__ import annotations

import math

from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.plan import Plan
from clientagent.wire.plan import Strategy as StrategyPart
from clientagent.wire.tensors import Array, Layout
from clientagent.wire.weights import layout_of

Vectors = dict[str, Array]
"""Flat float32 vectors by name."""

DEFAULTS: dict[str, dict[str, float]] = {
    "fedprox": {"mu": 0.01},
    "feddyn": {"mu": 0.01},
    "ditto": {"mu": 0.1},
    "fedavgm": {"server_learning_rate": 1.0, "momentum": 0.5},
    "fedadagrad": {"server_learning_rate": 0.1},
    "fedadam": {"server_learning_rate": 0.1, "momentum": 0.9},
    "fedyogi": {"server_learning_rate": 0.1, "momentum": 0.9},
    "scaffold": {"server_learning_rate": 1.0},
    "qfedavg": {"q": 0.1},
    "newton": {"ridge": 1e-5},
}
"""The numbers that a strategy uses, and what they are where the plan says null. No other number matters to it."""
NUMBERS = ("mu", "server_learning_rate", "momentum", "q", "ridge", "bound", "trim")
"""The plan's numbers that belong to a strategy."""
OPEN = {"trimmed_mean": ("trim",), "centred_clipping": ("bound",), "norm_bound": ("bound",),
        "qfedavg": ("server_learning_rate",)}
"""Numbers that a strategy uses and finds from the updates themselves where the plan says null."""

ROBUST = frozenset({"median", "trimmed_mean", "krum", "multikrum", "geometric_median", "centred_clipping"})
"""Rules that hold against ``byzantine`` hostile banks. Each bank has one voice: rows are a claim of the bank."""
ONLY_MEAN = frozenset({"fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "ditto"})
"""Strategies whose server needs no more than the weighted mean of the updates, and so can do with a masked sum."""
SAME_BASE = frozenset({"scaffold", "feddyn", "fednova", "qfedavg", "newton"}) | ROBUST
"""Strategies whose updates must all start from the version that the round starts from."""

SERVER_VECTORS: dict[str, tuple[str, ...]] = {
    "fedavgm": ("momentum",),
    "fedadagrad": ("second_moment",),
    "fedadam": ("momentum", "second_moment"),
    "fedyogi": ("momentum", "second_moment"),
    "scaffold": ("control",),
    "feddyn": ("drift",),
    "centred_clipping": ("centre",),
    "newton": ("anchor", "direction"),
}
"""Vectors (parameters,) that the server keeps beside a version; before round 1 all are zero."""
NEWTON_LINE = 5
SENT_DOWN: dict[str, tuple[str, ...]] = {"scaffold": ("control",)}
"""Those of the server's vectors that a bank trains with."""
OWN_VECTORS: dict[str, str] = {"scaffold": "control", "feddyn": "gradient", "ditto": "personal"}
"""The vector that a bank keeps from one of its updates to the next."""
LARGEST_NEWTON = 2048
"""Parameters: a Hessian of that many rows is 8 MiB on the wire and solved in seconds."""


STEPS_COUNT = frozenset({"fednova", "qfedavg"})
"""Strategies in which the number of a bank's local steps moves the result: a claim that is held against the plan."""
LOSSES_COUNT = frozenset({"qfedavg", "newton"})
"""Strategies that need the base's loss on a bank's training rows."""


CLOSED_FORM = ("logistic", "mlp", "scorecard")
"""Families whose clipped gradients are had without torch."""


def needs_torch(plan: Plan) -> bool:
    """Whether a round's work needs torch: for gradient steps, of which few do under record_dp, or to score with a plugin."""
    if plan.model.is_plugin:
        return True
    if plan.strategy.name == "newton" or not plan.training.epochs or is_logistic(plan):
        return False
    return plan.privacy.record_dp is None or plan.model.family not in CLOSED_FORM or plan.strategy.name == "ditto"


def is_logistic(plan: Plan) -> bool:
    """Whether what is trained is one layer with the log loss, whose gradient needs no torch."""
    return plan.model.family in ("logistic", "scorecard") and plan.training.class_weight != "focal"


def steps_of(plan: Plan, rows: int) -> int:
    """Local steps of a round over so many rows; under record_dp as many as look at ``epochs`` times the rows, on average."""
    record = plan.privacy.record_dp
    if record is not None:
        return math.ceil(plan.training.epochs / record.sampling - 1e-9)
    return plan.training.epochs * -(-rows // plan.training.batch_size)


def number_of(strategy: StrategyPart, field: str) -> float:
    """A number of the plan's strategy, or its default. Raises ``KeyError`` for one that the strategy does not use."""
    value = getattr(strategy, field)
    return float(DEFAULTS[strategy.name][field] if value is None else value)


def fewest_banks(strategy: StrategyPart) -> int:
    """How many updates a round needs for the rule to mean anything.

    2f + 3 for (multi-)Krum (Blanchard et al. 2017, section 3), 2f + 1 for the others and for mixing (Allouah et al. 2023,
    section 4).
    """
    if strategy.name in ("krum", "multikrum"):
        return 2 * strategy.byzantine + 3
    if strategy.name in ROBUST or strategy.mixing != "none":
        return 2 * strategy.byzantine + 1
    return 1


def keeps_own(plan: Plan) -> bool:
    """Whether a bank goes on from what it kept with its last update that was used."""
    return plan.strategy.name in OWN_VECTORS or plan.compression.codec == "topk"


def uplink_layout(plan: Plan, inputs: int) -> Layout:
    """What an update's file holds: the model's own tensors, or the named vectors that a strategy sends in their place."""
    layout = layout_of(plan, inputs)
    size = layout.parameters
    if plan.strategy.name == "scaffold":
        return Layout({"control": (size,), "update": (size,)})
    if plan.strategy.name == "newton":
        return Layout({"gradient": (size,), "hessian": (size * (size + 1) // 2,)})
    return layout


def server_layout(name: str, parameters: int) -> Layout | None:
    """The file of the server's vectors that belongs to a version; None where the strategy keeps none."""
    vectors = SERVER_VECTORS.get(name)
    if vectors is None:
        return None
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(vectors, (parameters,))
    if name == "newton":
        shapes["line"] = (NEWTON_LINE,)
    return Layout(shapes)


def require_solvable(strategy: StrategyPart, parameters: int) -> None:
    """Raises ``PlanUnsupported`` where a model is too wide for second order. Known once the preprocessing is agreed."""
    if strategy.name == "newton" and parameters > LARGEST_NEWTON:
        raise PlanUnsupported(
            expected=f"strategy.name: newton with at most {LARGEST_NEWTON} weights", got=f"{parameters} weights",
            action="Choose fewer features or categories, or another strategy.",
        )
