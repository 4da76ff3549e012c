"""The parts of a plan that say what a bank does in a round, how updates become the next version, and when."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.plan.values import Part, Slug


class Training(Part):
    epochs: int = Field(1, ge=0, le=1000, description="Passes over a bank's rows in a round; 0 rehearses the plumbing.")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="Rows in one training step.")
    optimiser: Literal["adam", "sgd"] = Field("adam", description="The local optimiser; its state is fresh each round.")
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0, le=100)] = Field(
        "auto", description="Step size; auto is 0.003 for mlp and 0.01 for logistic."
    )
    decay: Literal["none", "cosine"] = Field("none", description="Whether the step size falls over the rounds.")
    weight_decay: float = Field(0.0, ge=0, le=10, description="Pull of the weights towards zero.")
    class_weight: Literal["none", "balanced", "focal"] = Field(
        "none", description="How rare positives count: as they are, balanced, or by focal loss."
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Fixes the initial weights and the order of the rows.")

    def resolved_learning_rate(self, family: str) -> float:
        if self.learning_rate != "auto":
            return float(self.learning_rate)
        return 0.01 if family in ("logistic", "scorecard") else 0.003

    def learning_rate_at(self, family: str, round_number: int, rounds: int) -> float:
        """The step size of round 1..rounds: constant, or half a cosine from full towards zero."""
        rate = self.resolved_learning_rate(family)
        if self.decay == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * min(1.0, (round_number - 1) / max(rounds, 1))))
        return rate


STRATEGIES = (
    "fedavg", "fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "scaffold", "fednova", "feddyn", "qfedavg",
    "ditto", "newton", "median", "trimmed_mean", "krum", "multikrum", "geometric_median", "centred_clipping",
    "norm_bound",
)


class Strategy(Part):
    name: Literal[STRATEGIES] = Field("fedavg", description="How updates become the next model.")  # type: ignore[valid-type]
    weighting: Literal["samples", "equal"] = Field("samples", description="A bank counts by its rows, or all alike.")
    max_weight: float = Field(
        1.0, gt=0, le=1, description="The largest share of the total weight that one bank may have."
    )
    mu: float | None = Field(None, ge=0, le=1000, description="Proximal term (fedprox, feddyn, ditto).")
    server_learning_rate: float | None = Field(
        None, gt=0, le=100, description="Step size at the server (FedOpt family)."
    )
    momentum: float | None = Field(None, ge=0, lt=1, description="Server momentum (fedavgm).")
    byzantine: int = Field(1, ge=0, le=1000, description="How many banks a robust rule assumes hostile.")
    trim: float | None = Field(None, ge=0, lt=0.5, description="Share cut at each end (trimmed_mean).")
    q: float | None = Field(None, ge=0, le=100, description="Fairness exponent (qfedavg).")
    ridge: float | None = Field(None, ge=0, le=1e6, description="Ridge penalty (newton).")
    bound: float | None = Field(None, gt=0, le=1e6, description="Norm bound (norm_bound, centred_clipping).")
    mixing: Literal["none", "nearest"] = Field("none", description="Nearest-neighbour mixing before a robust rule.")


class Schedule(Part):
    mode: Literal["sync", "async"] = Field("sync", description="Rounds for all together, or versions as updates come.")
    rounds: int = Field(20, ge=1, le=10_000, description="Global steps.")
    quorum: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto", description="Share of the banks that a round needs; auto is all, or secure aggregation's threshold."
    )
    required: list[Slug] = Field(
        default_factory=list, max_length=1000, description="Banks without which no round closes."
    )
    min_wait_s: float = Field(0, ge=0, le=86_400, description="A round stays open at least this many seconds.")
    deadline_s: float = Field(
        600, gt=0, le=30 * 86_400, description="A round closes or is abandoned after this many seconds."
    )
    stage_timeout_s: float = Field(
        30, gt=0, le=86_400, description="Patience for one stage of secure aggregation, in seconds."
    )
    late: Literal["discard", "next_round"] = Field(
        "discard", description="What becomes of an update that comes too late."
    )
    select: Literal["best", "last"] = Field(
        "best", description="The result: the lowest pooled validation loss, or the last version."
    )
    patience: int = Field(0, ge=0, le=10_000, description="End after this many rounds without improvement; 0 never.")
    buffer: int = Field(2, ge=1, le=10_000, description="Async: updates that make a version.")
    max_staleness: int = Field(10, ge=0, le=10_000, description="Async: versions that an update may be behind.")
    staleness_power: float = Field(0.5, ge=0, le=10, description="Async: how fast a stale update loses weight.")
    max_updates_per_bank: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = Field(
        "auto", description="Async: updates one bank may send; auto is twice the rounds."
    )
