"""The Plan itself: its parts, the rules over several of them, and what follows from it. Its identity is its hash."""

from __future__ import annotations

import difflib
import math
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from clientagent.wire.canonical import canonical, digest_of
from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan.model import Model
from clientagent.wire.plan.outcome import Compression, EvaluationPlan, Retention
from clientagent.wire.plan.protection import Privacy
from clientagent.wire.plan.table import Feature, Label, Preprocessing
from clientagent.wire.plan.training import Schedule, Strategy, Training
from clientagent.wire.plan.values import Part, Slug


class Plan(Part):
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
    def masks_statistics(self) -> bool:
        """Whether the statistics stage sums under masks: its parts are sums. Cells that each bank chooses for itself are not."""
        return self.privacy.secure_aggregation is not None and self.numeric_method == "zscore"

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
        message = _no_such_field(field) if named else item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        head, colon, rest = message.partition(": ")
        if colon and all(part in _FIELDS for part in head.split(".")):  # a rule over several fields names one
            field, message = f"{field}.{head}".removeprefix("."), rest
        sentences.setdefault(field, []).append(message)
    return [(field, " or: ".join(messages)) for field, messages in sentences.items()]


def _no_such_field(dotted: str) -> str:
    """The sentence for a name that no plan has, with the nearest one that some part has."""
    near = difflib.get_close_matches(dotted.rpartition(".")[2], sorted(_FIELDS), n=1)
    return "a field that a plan has" + (f"; perhaps {near[0]}" if near else "")


_FIELDS = {name for part in Part.__subclasses__() for name in part.model_fields}
"""The names that a form knows; pydantic also names the branches of a union, which are nobody's fields."""
