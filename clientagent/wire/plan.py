"""The Plan: the frozen document that says exactly what will be trained and how. Its identity is its hash.

Each field has bounds, a default where one is sensible, and a sentence: the browser's form shows that sentence as help
and those bounds as validation, so this file is the only description of a plan.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from clientagent.wire.canonical import canonical, digest_of
from clientagent.wire.errors import PlanInvalid

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Column = Annotated[str, StringConstraints(min_length=1, max_length=128)]


def _exact(value: Any) -> Any:
    # JSON numbers lose digits from there on, and equal texts would no longer mean equal values
    if isinstance(value, (int, float)) and abs(value) >= 2**53 and value % 1 == 0:
        raise ValueError("a whole number of 2**53 and more must be written as text")
    return value


Value = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=128)] | int | float | bool, BeforeValidator(_exact)
]

FAMILIES = ("logistic", "mlp", "scorecard")
PLUGIN = re.compile(r"^[A-Za-z_][\w.-]{0,63}@[0-9a-f]{64}$")


def as_text(value: Any) -> str:
    """A category or label value as it is compared everywhere: 1, 1.0 and "1" are the same, true and "True" too."""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    text = str(value).strip()
    if text in ("True", "true", "TRUE"):  # as programs write a truth value into CSV
        return "1"
    if text in ("False", "false", "FALSE"):
        return "0"
    if not re.fullmatch(r"-?\d+\.0+", text):
        return text
    whole = text.partition(".")[0]
    return "0" if whole.strip("-0") == "" else whole


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_enum_values=True)


class Kind(StrEnum):
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


class Feature(_Part):
    name: Column = Field(description="The column's name in every bank's table.")
    kind: Literal["numeric", "categorical"] = Field(description="How the column is read.")
    categories: list[Value] | None = Field(
        None, max_length=1000, description="The allowed values; left out, they are agreed in the statistics stage."
    )

    @model_validator(mode="after")
    def _categories_fit(self) -> Self:
        if self.categories is not None:
            if self.kind != "categorical":
                raise ValueError("only a categorical feature has categories")
            texts = [as_text(value) for value in self.categories]
            if not texts or len(set(texts)) != len(texts):
                raise ValueError("categories must be at least one and distinct (1 and 1.0 are the same)")
        return self


class Label(_Part):
    name: Column = Field(description="The column that says how a case ended.")
    positive: Value = Field(1, description="The value that means default or fraud; 1 equals 1.0.")


class Preprocessing(_Part):
    numeric: Literal["zscore", "quantile", "bins", "piecewise", "woe"] = Field(
        "zscore",
        description="How numbers become inputs. zscore: mean and deviation. quantile: normal scores, calm with outliers. "
        "bins: one input a bin. piecewise: a ramp a bin, often the best. woe: one weight of evidence.",
    )
    categorical: Literal["onehot", "woe"] = Field(
        "onehot", description="onehot: one input for each category. woe: one weight of evidence for all of them."
    )
    bins: int = Field(20, ge=2, le=100, description="Most bins of a number (quantile, bins, piecewise and woe).")


MOST_VALUES = 2**28
"""In one tensor of a plugin, an input counted as one."""


class TensorSpec(_Part):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")] = Field(
        description="As in the module's state_dict."
    )
    shape: list[Annotated[int, Field(ge=1, le=65_536)] | Literal["inputs"]] = Field(
        min_length=1, max_length=4, description="Its widths; the word inputs stands for the number of inputs."
    )
    start: Literal["uniform", "zeros", "ones"] = Field(
        "uniform", description="Where it starts; uniform lies within 1 / sqrt(product of all widths but the first)."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if math.prod(width for width in self.shape if width != "inputs") > MOST_VALUES:
            raise ValueError(f"{self.name}: more than {MOST_VALUES} values")
        if self.start == "uniform" and len(self.shape) == 1:
            raise ValueError(f"{self.name}: a vector starts at zeros or ones")
        return self

    def widths(self, inputs: int) -> tuple[int, ...]:
        """The shape, for a model of so many inputs."""
        return tuple(inputs if width == "inputs" else width for width in self.shape)


class Model(_Part):
    family: str = Field(
        "mlp", description="logistic: one weight an input. mlp: hidden layers. scorecard: points a bin. "
        "name@hash: a plugin that each bank has installed; it comes with a plan as YAML.",
    )
    hidden: list[Annotated[int, Field(ge=1, le=8192)]] = Field(
        default_factory=lambda: [64, 32], max_length=8, description="Widths of the hidden layers of an mlp."
    )
    dropout: float = Field(0.1, ge=0, le=0.9, description="Share of hidden units left out in each training step.")
    base_score: float = Field(600, ge=-10_000, le=10_000, description="Points of a customer at the base odds (scorecard).")
    base_odds: float = Field(50, gt=0, le=1e6, description="Good customers to one bad at the base score (scorecard).")
    points_to_double: float = Field(20, gt=0, le=1000, description="Points that double the odds, PDO (scorecard).")
    tensors: list[TensorSpec] = Field(
        default_factory=list, max_length=1000,
        description="A plugin's weights and where they start, as 'fedagent plans plugins' prints them.",
    )

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES and not PLUGIN.match(family):
            raise ValueError(f"one of {', '.join(FAMILIES)}, or a local plugin name@sha256")
        return family

    @field_validator("tensors")
    @classmethod
    def _distinct(cls, tensors: list[TensorSpec]) -> list[TensorSpec]:
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise ValueError("a name appears twice")
        return tensors

    @model_serializer(mode="wrap")
    def _without_empty_tensors(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # plans without a plugin keep the hash that they had before plugins
        document: dict[str, Any] = handler(self)
        if not self.tensors:
            document.pop("tensors", None)
        return document

    @property
    def is_plugin(self) -> bool:
        """Whether the family is a module that each bank installed itself."""
        return self.family not in FAMILIES


class Training(_Part):
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


class Strategy(_Part):
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


class Schedule(_Part):
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


class RecordDP(_Part):
    epsilon: float = Field(3.0, gt=0, le=100, description="Privacy loss of one customer over the whole run.")
    delta: Literal["auto"] | Annotated[float, Field(gt=0, lt=1e-2)] = Field(
        "auto", description="Probability left out; auto is min(1e-6, 1 / (10 rows))."
    )
    clip: float = Field(
        1.0, gt=0, le=1000, description="Largest gradient norm of one record, its inputs scaled to a norm of about one."
    )
    sampling: float = Field(
        0.05, gt=0, le=1, description="Chance of each row to be in a training step; a pass over the rows is 1 / sampling steps."
    )
    statistics: float = Field(
        0.1, ge=0, le=0.5, description="Share of epsilon for the preprocessing statistics; 0 leaves them without noise."
    )
    bounds: dict[Column, tuple[float, float]] = Field(
        default_factory=dict, max_length=2000,
        description="Lowest and highest value of each number, from common knowledge and not from the data: what noise needs.",
    )

    @field_validator("bounds")
    @classmethod
    def _in_order(cls, bounds: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in bounds.items():
            if not low < high:
                raise ValueError(f"{name}: the lowest value must lie below the highest")
        return bounds


class InstitutionDP(_Part):
    epsilon: float = Field(8.0, gt=0, le=100, description="Privacy loss of one bank over the whole run.")
    delta: float = Field(1e-5, gt=0, lt=1e-2, description="Probability left out.")
    clip: Literal["adaptive"] | Annotated[float, Field(gt=0, le=1e6)] = Field(
        1.0, description="Largest norm of one bank's update; adaptive from 50 banks on."
    )


class SecureAggregation(_Part):
    threshold: float = Field(0.67, gt=0.5, le=1, description="Share of the cohort that must stay to the end.")
    min_cohort: int = Field(3, ge=3, le=10_000, description="Fewest banks whose sum may be opened.")


class Privacy(_Part):
    record_dp: RecordDP | None = Field(None, description="Differential privacy for each customer of each bank.")
    institution_dp: InstitutionDP | None = Field(None, description="Differential privacy for each bank.")
    secure_aggregation: SecureAggregation | None = Field(None, description="The portal sees only the sum of updates.")
    min_banks: int = Field(3, ge=1, le=10_000, description="Fewest banks behind any published total.")
    min_banks_reason: str = Field("", max_length=500, description="Why fewer than 3 banks may stand behind a total.")
    min_cell: int = Field(5, ge=1, le=10_000, description="Fewest customers in any published bin or category.")

    @model_validator(mode="after")
    def _reason_given(self) -> Self:
        if self.min_banks < 3 and not self.min_banks_reason.strip():
            raise ValueError("min_banks_reason: min_banks below 3 needs a sentence for the auditor")
        return self


class Compression(_Part):
    codec: Literal["none", "bfloat16", "int8", "topk"] = Field("none", description="How an update is made smaller.")
    share: float = Field(0.05, gt=0, le=1, description="Share of coordinates that topk sends.")


class EvaluationPlan(_Part):
    bins: int = Field(1000, ge=10, le=100_000, description="Score bins in which customers are counted.")
    validation: float = Field(0.1, ge=0, le=0.5, description="Share of a bank's rows that chooses the best version.")
    holdout: float = Field(0.2, gt=0, le=0.5, description="Share of a bank's rows that only reports.")
    every: int = Field(1, ge=0, le=10_000, description="Evaluate every n-th version; 0 never.")
    segment: Column | None = Field(None, description="A column whose groups are compared for fairness.")
    alert_budget: float = Field(0.01, gt=0, le=1, description="Share of cases that can be looked at.")
    gains: bool = Field(
        False, description="At the end each bank also trains a model of its own and reports, in figures only, what it gained."
    )


class Retention(_Part):
    updates_days: int = Field(400, ge=0, le=36_500, description="Days for which updates are kept.")


class Plan(_Part):
    """What will be trained and how; frozen once it has a hash."""

    project: Slug = Field(description="The project that this plan belongs to.")
    purpose: Literal["credit", "fraud"] = Field("credit", description="What the model may be used for.")
    features: list[Feature] = Field(min_length=1, max_length=2000, description="What every bank's table must offer.")
    label: Label = Field(description="The column to predict.")
    participants: list[Slug] = Field(min_length=1, max_length=1000, description="The institutions that train.")
    preprocessing: Preprocessing = Field(default_factory=Preprocessing)
    model: Model = Field(default_factory=Model)
    training: Training = Field(default_factory=Training)
    strategy: Strategy = Field(default_factory=Strategy)
    schedule: Schedule = Field(default_factory=Schedule)
    privacy: Privacy = Field(default_factory=Privacy)
    compression: Compression = Field(default_factory=Compression)
    evaluation: EvaluationPlan = Field(default_factory=EvaluationPlan)
    retention: Retention = Field(default_factory=Retention)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError("features: a name appears twice")
        if self.label.name in names:
            raise ValueError("label: the label cannot be a feature")
        if len(set(self.participants)) != len(self.participants):
            raise ValueError("participants: a bank appears twice")
        if unknown := set(self.schedule.required) - set(self.participants):
            raise ValueError(f"schedule.required: {', '.join(sorted(unknown))} is not a participant")
        if self.evaluation.validation + self.evaluation.holdout > 0.8:
            raise ValueError("evaluation: validation and holdout leave too few rows to train on")
        if self.privacy.min_banks > len(self.participants):
            raise ValueError(
                f"privacy.min_banks: {self.privacy.min_banks} banks cannot stand behind a total of "
                f"{len(self.participants)}; invite more banks, or lower it and give min_banks_reason"
            )
        if self.schedule.select == "best" and not (self.evaluation.every and self.evaluation.validation):
            raise ValueError(
                "schedule.select: best needs evaluation.every and evaluation.validation above 0; choose last"
            )
        return self

    @property
    def hash(self) -> str:
        return digest_of(self)

    @property
    def numeric_method(self) -> str:
        """How numbers become inputs; a scorecard always weighs evidence."""
        return "woe" if self.model.family == "scorecard" else self.preprocessing.numeric

    @property
    def categorical_method(self) -> str:
        return "woe" if self.model.family == "scorecard" else self.preprocessing.categorical

    @property
    def counts_bad(self) -> bool:
        """Whether the statistics stage counts the positives of each bin or category, and not only its customers."""
        return "woe" in (self.numeric_method, self.categorical_method)

    @property
    def protects_statistics(self) -> bool:
        """Whether the statistics stage is part of the record-level budget, and so says nothing exact."""
        return self.privacy.record_dp is not None and self.privacy.record_dp.statistics > 0

    @property
    def quorum_share(self) -> float:
        if self.schedule.quorum != "auto":
            return float(self.schedule.quorum)
        secure = self.privacy.secure_aggregation
        return secure.threshold if secure else 1.0

    def needed(self, banks: int) -> int:
        """How many of ``banks`` a round needs: ceil(quorum * banks), at least one, or the smallest cohort."""
        secure = self.privacy.secure_aggregation
        return max(secure.min_cohort if secure else 1, math.ceil(self.quorum_share * banks - 1e-9))

    @property
    def stage_timeout(self) -> timedelta:
        """How long one stage of secure aggregation waits."""
        return timedelta(seconds=self.schedule.stage_timeout_s)

    def versions(self, banks: int) -> int:
        """Global steps of a run with ``banks`` on the roster: the rounds, or in async as many buffers as hold their updates."""
        schedule = self.schedule
        return schedule.rounds if schedule.mode == "sync" else -(-schedule.rounds * banks // schedule.buffer)

    def learning_rate_in(self, round_number: int) -> float:
        """The local step size of a round, or of an async run's version, from 1."""
        return self.training.learning_rate_at(self.model.family, round_number, self.versions(len(self.participants)))

    @property
    def max_updates_per_bank(self) -> int:
        """Async: the most updates that one bank may send."""
        limit = self.schedule.max_updates_per_bank
        return 2 * self.schedule.rounds if limit == "auto" else int(limit)

    @property
    def canonical_text(self) -> str:
        return canonical(self).decode()


def parse_plan(document: dict[str, Any]) -> Plan:
    """A plan from JSON or YAML data. Raises ``PlanInvalid`` naming the first wrong field."""
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        problems = plan_problems(error)
        field, message = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        action = f"Correct {field or 'the plan'}."
        raise PlanInvalid(expected=message + more, got=field or "plan", action=action) from error


def plan_problems(error: ValidationError) -> list[tuple[str, str]]:
    """(dotted field, sentence) for each field with a problem, for a form that marks all of them at once."""
    sentences: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_input=False):
        named = item["type"] == "extra_forbidden"  # a stranger's field keeps its name
        field = ".".join(str(part) for part in item["loc"] if named or isinstance(part, int) or part in _FIELDS)
        message = item["msg"].removeprefix("Value error, ")
        head, colon, rest = message.partition(": ")
        if colon and all(part in _FIELDS for part in head.split(".")):  # a rule over several fields names one
            field, message = f"{field}.{head}".removeprefix("."), rest
        sentences.setdefault(field, []).append(message)
    return [(field, " or: ".join(messages)) for field, messages in sentences.items()]


_FIELDS = {name for part in _Part.__subclasses__() for name in part.model_fields}
"""The names that a form knows; pydantic also names the branches of a union, which are nobody's fields."""
