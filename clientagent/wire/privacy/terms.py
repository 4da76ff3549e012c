"""What a plan's ``record_dp`` means for one bank: how often a row is looked at, in how many steps, and with how much noise.

Everything here follows from the plan and from row counts that the RunManifest declares, never from a value in the table: two
neighbouring tables get the same terms. Epsilon and delta are of the whole run: statistics and every update that it may need.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from clientagent.wire.combinations import Conflict, require_combinable
from clientagent.wire.errors import PlanInvalid
from clientagent.wire.messages.privacy import PrivacyEvent
from clientagent.wire.plan import Plan, RecordDP
from clientagent.wire.privacy.accounting import ACCOUNTANT, NoiseCache, epsilon_of, noise_for
from clientagent.wire.privacy.events import Spending, plus, together
from clientagent.wire.strategies import steps_of

FAILURE_SHARE = 0.1
"""Share of delta for categories that are not listed: the chance that one customer's own category is named."""
RATES = {"mlp": 0.01}
RATE = 0.05
"""Learning rate ``auto`` under record_dp, falling as half a cosine: tried on two tables at epsilon 1 and 8."""


@dataclass(frozen=True)
class RecordTerms:
    """``steps`` make one update; ``updates`` is the most that the run may ask for; noise multipliers are relative to ``clip``."""

    rows: int
    epsilon: float
    delta: float
    clip: float
    sampling_rate: float
    steps: int
    updates: int
    noise_multiplier: float
    statistics_noise: float | None
    failure: float

    @property
    def expected_batch(self) -> float:
        """Rows in a step on average: the public number that sums are divided by, whoever was drawn."""
        return self.sampling_rate * self.rows

    def update_event(self, release: str, base_digest: str) -> PrivacyEvent:
        return PrivacyEvent(
            release=release, mechanism="dp_sgd", unit="record", noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate, steps=self.steps, clip=self.clip, delta=self.delta, base_digest=base_digest,
            accountant=ACCOUNTANT,
        )

    def statistics_event(self, release: str) -> PrivacyEvent | None:
        if self.statistics_noise is None:
            return None
        return PrivacyEvent(
            release=release, mechanism="gaussian", unit="record", noise_multiplier=self.statistics_noise, clip=1.0,
            delta=self.delta, failure=self.failure, accountant=ACCOUNTANT,
        )

    def spending(self, updates: int) -> Spending:
        """The statistics and so many updates."""
        nobody = "0" * 64
        statistics = self.statistics_event(nobody)
        once = together([statistics] if statistics else [])
        return plus(once, together([self.update_event(nobody, nobody)], updates)) if updates else once

    def epsilon_after(self, updates: int) -> float:
        """What the run has cost a customer after so many updates, at ``delta``."""
        return epsilon_of(self.spending(updates), self.delta)


def record_terms(plan: Plan, rows: int, *, cache: NoiseCache | None = None) -> RecordTerms:
    """The terms of a bank with so many training rows. Raises ``PlanInvalid`` and ``BudgetExceeded``."""
    record = plan.privacy.record_dp
    if record is None or rows < 1:
        raise PlanInvalid(expected="privacy.record_dp and rows to protect", got=f"{record}, {rows} rows")
    require_combinable(plan)
    delta = delta_of(record, rows)
    rate, steps, updates = record.sampling, steps_of(plan, rows), updates_of(plan)
    failure = FAILURE_SHARE * delta if names_categories(plan) else 0.0
    statistics = None
    if protects_statistics(plan):
        statistics = noise_for(record.statistics * record.epsilon, delta - failure, steps=1, kind="gaussian", cache=cache)
    terms = RecordTerms(rows, record.epsilon, delta, record.clip, rate, steps, updates, 1.0, statistics, failure)
    noise = noise_for(
        record.epsilon, delta, steps=steps * updates, sampling_rate=rate, beside=terms.spending(0), cache=cache
    )
    return RecordTerms(rows, record.epsilon, delta, record.clip, rate, steps, updates, noise, statistics, failure)


def delta_of(record: RecordDP, rows: int) -> float:
    if record.delta != "auto":
        return float(record.delta)
    return min(1e-6, 1 / (10 * rows))


def updates_of(plan: Plan) -> int:
    """The most updates that a run may ask of one bank. A repeated attempt sends the same bytes again, which costs nothing."""
    return plan.schedule.rounds if plan.schedule.mode == "sync" else plan.max_updates_per_bank


def learning_rate(plan: Plan, round_number: int) -> float:
    """The step size under record_dp."""
    if plan.training.learning_rate != "auto":
        return plan.learning_rate_in(round_number)
    share = (round_number - 1) / plan.versions(len(plan.participants))
    return RATES.get(plan.model.family, RATE) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


# ------------------------------------------------------------------ statistics
def bounded(plan: Plan) -> list[str]:
    """Numeric features whose statistics can carry noise, because the plan says between which values they lie."""
    record = plan.privacy.record_dp
    bounds = record.bounds if record else {}
    return [feature.name for feature in plan.features if feature.kind == "numeric" and feature.name in bounds]


def names_categories(plan: Plan) -> bool:
    """Whether the statistics stage must find out categories, because the plan does not list them."""
    record = plan.privacy.record_dp
    return bool(record and record.statistics) and any(
        feature.kind == "categorical" and feature.categories is None for feature in plan.features
    )


def protects_statistics(plan: Plan) -> bool:
    record = plan.privacy.record_dp
    balanced = plan.training.class_weight == "balanced"
    return bool(record and record.statistics) and (bool(bounded(plan)) or names_categories(plan) or balanced)


# ---------------------------------------------------------------------- promises
def _(sentence: str) -> str:
    """Marks a sentence for translation."""
    return sentence


def not_covered(plan: Plan) -> list[Conflict]:
    """What the promise of record_dp leaves out, each a plain sentence for people at its field. Empty without record_dp."""
    record = plan.privacy.record_dp
    if record is None:
        return []
    bare = [feature.name for feature in plan.features if feature.kind == "numeric" and feature.name not in bounded(plan)]
    exposed, methods = ", ".join(bare), f"{plan.numeric_method}, {plan.categorical_method}"
    rows: list[tuple[object, str, str, dict[str, str | int]]] = [
        (True, "privacy.record_dp", _("The number of rows of each bank is declared in the run's manifest and is not protected."), {}),
        (True, "privacy.record_dp",
         _("A customer with several rows, or at several banks, loses the stated epsilon for each of them."), {}),
        (plan.evaluation.every, "evaluation.every",
         _("Evaluation counts (validation and hold-out customers) carry no noise: only small cells are merged, and totals published "
           "over several banks."), {}),
        (record.statistics and exposed, "privacy.record_dp.bounds",
         _("Means and deviations of features without bounds carry no noise: %(features)s."), {"features": exposed}),
        (not record.statistics, "privacy.record_dp.statistics", _("The preprocessing statistics carry no noise."), {}),
        (methods != "zscore, onehot" and not record.statistics, "preprocessing.numeric",
         _("The counts behind this preprocessing carry no noise: %(methods)s."), {"methods": methods}),
    ]  # fmt: skip
    return [Conflict(field, reason, values) for holds, field, reason, values in rows if holds]
