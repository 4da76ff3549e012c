"""What cannot be combined in a plan, and why: one table, for the form, the API and the agent alike.

A row is a field, a condition and a sentence for people. Sentences are marked for translation here and translated where they are
shown; ``%(name)s`` in them stands for a value. ``conflicts`` refuses; ``idle`` only tells what a plan says in vain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import Plan
from clientagent.wire.secure_messages import MAX_COHORT
from clientagent.wire.strategies import DEFAULTS, NUMBERS, ONLY_MEAN, OPEN, ROBUST, SAME_BASE, fewest_banks

Values = Mapping[str, str | int]


def _(sentence: str) -> str:
    """Marks a sentence for translation."""
    return sentence


@dataclass(frozen=True)
class Conflict:
    """``field``: dotted, where the form shows it. ``reason``: the sentence as it is translated. ``values``: what fills it."""

    field: str
    reason: str
    values: Values

    @property
    def sentence(self) -> str:
        return self.reason % self.values


@dataclass(frozen=True)
class _Row:
    field: str
    when: Callable[[Plan], bool]
    reason: str
    values: Callable[[Plan], Values] = lambda plan: {}


def conflicts(plan: Plan) -> list[Conflict]:
    """Everything that is senseless or unsound in a plan whose fields are each fine, in the order of the table."""
    return [Conflict(row.field, row.reason, row.values(plan)) for row in _REFUSED if row.when(plan)]


def idle(plan: Plan) -> list[Conflict]:
    """What the plan says and its strategy does not use: worth a note, no reason to refuse."""
    rows = [Conflict(row.field, row.reason, row.values(plan)) for row in _IDLE if row.when(plan)]
    used = {*DEFAULTS.get(plan.strategy.name, ()), *OPEN.get(plan.strategy.name, ())}
    unused = [name for name in NUMBERS if getattr(plan.strategy, name) is not None and name not in used]
    vain = _("%(strategy)s does not use this number.")
    return rows + [Conflict(f"strategy.{name}", vain, _named(plan)) for name in unused]


def require_combinable(plan: Plan) -> None:
    """Raises ``PlanInvalid`` naming every field that does not go with the others."""
    if found := conflicts(plan):
        reasons = " ".join(conflict.sentence for conflict in found)[:2000]
        raise PlanInvalid(
            expected=f"choices that go together: {reasons}", got=", ".join(conflict.field for conflict in found),
            action="Change one of the two choices that do not go together.",
        )


# ------------------------------------------------------------------------ conditions
def _named(plan: Plan) -> Values:
    return {"strategy": plan.strategy.name}


def _participants(plan: Plan) -> Values:
    return {"banks": len(plan.participants)}


def _banks_needed(plan: Plan) -> Values:
    return {"strategy": plan.strategy.name, "needed": fewest_banks(plan.strategy), "banks": _banks_in_a_round(plan)}


def _banks_in_a_round(plan: Plan) -> int:
    return plan.schedule.buffer if plan.schedule.mode == "async" else plan.needed(len(plan.participants))


def _cut(plan: Plan) -> int:
    trim = plan.strategy.trim
    return plan.strategy.byzantine if trim is None else math.floor(trim * _banks_in_a_round(plan))


def _has_too_few_banks(plan: Plan) -> bool:
    return _banks_in_a_round(plan) < fewest_banks(plan.strategy)


def _cuts_too_few(plan: Plan) -> bool:
    return _cut(plan) < plan.strategy.byzantine


def _clips_adaptively(plan: Plan) -> bool:
    return plan.privacy.institution_dp is not None and plan.privacy.institution_dp.clip == "adaptive"


def _wants_too_large_a_cohort(plan: Plan) -> bool:
    secure = plan.privacy.secure_aggregation
    return secure is not None and secure.min_cohort > len(plan.participants)


def _selects_best(plan: Plan) -> bool:
    return plan.schedule.select == "best"


def _is(*names: str) -> Callable[[Plan], bool]:
    return lambda plan: plan.strategy.name in names


def _is_robust(plan: Plan) -> bool:
    return plan.strategy.name in ROBUST or plan.strategy.mixing != "none"


def _is_async(plan: Plan) -> bool:
    return plan.schedule.mode == "async"


def _is_masked(plan: Plan) -> bool:
    return plan.privacy.secure_aggregation is not None


def _has_record_dp(plan: Plan) -> bool:
    return plan.privacy.record_dp is not None


def _balances_without_a_count(plan: Plan) -> bool:
    record = plan.privacy.record_dp
    return plan.training.class_weight == "balanced" and record is not None and not record.statistics


def _strange_bounds(plan: Plan) -> list[str]:
    record = plan.privacy.record_dp
    numbers = {feature.name for feature in plan.features if feature.kind == "numeric"}
    return sorted(set(record.bounds) - numbers) if record else []


def _has_institution_dp(plan: Plan) -> bool:
    return plan.privacy.institution_dp is not None


def _codec(*names: str) -> Callable[[Plan], bool]:
    return lambda plan: plan.compression.codec in names


def _both(*conditions: Callable[[Plan], bool]) -> Callable[[Plan], bool]:
    return lambda plan: all(condition(plan) for condition in conditions)


def _no(condition: Callable[[Plan], bool]) -> Callable[[Plan], bool]:
    return lambda plan: not condition(plan)


_newton = _is("newton")
_lossy = _codec("bfloat16", "int8", "topk")

_REFUSED = (
    # ---- robust rules
    _Row("strategy.byzantine", _has_too_few_banks,
         _("%(strategy)s needs at least %(needed)s banks in every round for this many hostile ones; a round may have %(banks)s."),
         _banks_needed),
    _Row("strategy.trim", _both(_is("trimmed_mean"), _cuts_too_few),
         _("This share cuts %(cut)s values at each end, fewer than the %(byzantine)s banks that may be hostile."),
         lambda plan: {"cut": _cut(plan), "byzantine": plan.strategy.byzantine}),
    _Row("strategy.mixing", _both(_is_robust, lambda plan: plan.strategy.name not in ROBUST),
         _("Mixing prepares updates for a robust rule; %(strategy)s is none."), _named),
    _Row("strategy.name", _both(_is_robust, _is_masked),
         _("%(strategy)s must see each bank's update, and secure aggregation shows only their sum."), _named),
    _Row("strategy.name", _both(_no(_is(*ONLY_MEAN)), _no(_is_robust), _is_masked),
         _("%(strategy)s needs more than the weighted mean of the updates, which is all that secure aggregation shows."), _named),
    # ---- schedule
    _Row("schedule.mode", _both(_is(*SAME_BASE), _is_async),
         _("%(strategy)s compares or adds up updates that start from the same version; in async mode they do not."), _named),
    _Row("schedule.late", _both(_is(*SAME_BASE), _no(_is_async), lambda plan: plan.schedule.late == "next_round"),
         _("%(strategy)s cannot use an update that started from an earlier version; discard late ones."), _named),
    # ---- second order
    _Row("model.family", _both(_newton, lambda plan: plan.model.family not in ("logistic", "scorecard")),
         _("Newton solves logistic models; this family has no single optimum to solve for.")),
    _Row("training.class_weight", _both(_newton, lambda plan: plan.training.class_weight == "focal"),
         _("Newton needs a convex loss, and the focal loss is not convex.")),
    _Row("training.weight_decay", _both(_newton, lambda plan: plan.training.weight_decay > 0),
         _("Newton takes no training steps that could decay weights; set strategy.ridge instead.")),
    _Row("compression.codec", _both(_newton, _lossy),
         _("Newton sends sums that must add up exactly; a lossy codec would move the optimum.")),
    _Row("privacy.record_dp", _both(_newton, _has_record_dp),
         _("Newton sends exact sums over customers, without the clipping and noise that record-level privacy needs.")),
    # ---- plugins
    _Row("model.tensors", lambda plan: plan.model.is_plugin and not plan.model.tensors,
         _("A plugin's plan lists its tensors: 'fedagent plans plugins NAME' prints them at a bank that has it installed.")),
    _Row("model.tensors", lambda plan: bool(plan.model.tensors) and not plan.model.is_plugin,
         _("Only a plugin lists tensors; those of this family follow from its other fields.")),
    # ---- what leaves beside the update
    _Row("compression.codec", _both(_is("scaffold"), _codec("topk")),
         _("SCAFFOLD's control variates are not differences that could be sent later: choose bfloat16, int8 or none.")),
    _Row("privacy.record_dp", _both(_is("scaffold", "qfedavg"), _has_record_dp),
         _("%(strategy)s sends a figure of the customers beside the update, which the noise does not cover."), _named),
    # ---- preprocessing
    _Row("preprocessing.numeric", lambda plan: plan.protects_statistics and plan.numeric_method != "zscore",
         _("Bins are counted exactly: choose zscore and no scorecard, or set privacy.record_dp.statistics to 0, outside of the budget.")),
    _Row("preprocessing.categorical", lambda plan: plan.protects_statistics and plan.categorical_method != "onehot",
         _("Evidence is counted exactly: choose onehot and no scorecard, or set privacy.record_dp.statistics to 0.")),
    # ---- privacy of customers
    _Row("training.epochs", _both(_has_record_dp, _no(_newton), lambda plan: plan.training.epochs == 0),
         _("Nothing is trained, so record-level privacy has nothing to protect.")),
    _Row("schedule.select", _both(_has_record_dp, _no(_newton), _selects_best),
         _("Under record-level privacy the result is the last version: choosing looks at customers outside of the budget.")),
    _Row("schedule.patience", _both(_has_record_dp, lambda plan: plan.schedule.patience > 0),
         _("Under record-level privacy the length of a run is not decided by its losses.")),
    _Row("training.class_weight", _both(_has_record_dp, _balances_without_a_count),
         _("Balanced weights need the number of positives: give privacy.record_dp.statistics a share of epsilon.")),
    _Row("privacy.record_dp.bounds", lambda plan: bool(_strange_bounds(plan)),
         _("Bounds of a column that is no number of this plan: %(column)s."), lambda plan: {"column": _strange_bounds(plan)[0]}),
    _Row("evaluation.segment", _both(_has_record_dp, lambda plan: plan.evaluation.segment is not None),
         _("Groups are small numbers of customers, counted without noise: leave the segment out under record-level privacy.")),
    _Row("evaluation.gains", _both(_has_record_dp, lambda plan: plan.evaluation.gains),
         _("What a bank gained is read off its customers without noise: switch gains off under record-level privacy.")),
    # ---- codecs
    _Row("compression.codec", _both(_codec("topk"), _is_masked),
         _("Top-k tells which weights moved, and masked updates must all have the same places.")),
    _Row("compression.codec", _both(_codec("bfloat16"), _is_masked),
         _("Masked updates are whole numbers; bfloat16 has no meaning for them. Choose int8 or none.")),
    _Row("compression.codec", _both(_codec("topk"), _has_institution_dp),
         _("Noise on every weight undoes what top-k leaves out.")),
    # ---- privacy of banks
    _Row("strategy.weighting", _both(_has_institution_dp, lambda plan: plan.strategy.weighting != "equal"),
         _("Privacy of a bank is computed for banks that count alike: choose equal.")),
    _Row("strategy.name", _both(_has_institution_dp, _no(_is(*ONLY_MEAN))),
         _("Privacy of a bank is computed for the mean of clipped updates, which %(strategy)s is not."), _named),
    _Row("schedule.mode", _both(_has_institution_dp, _is_async),
         _("Privacy of a bank is computed for rounds in which each bank counts once; in async mode it may count twice.")),
    _Row("compression.codec", _both(_has_institution_dp, _codec("bfloat16", "int8")),
         _("A codec may carry an update beyond the clip that privacy of a bank is computed for: choose none.")),
    _Row("privacy.institution_dp.clip", _both(_clips_adaptively, lambda plan: len(plan.participants) < 50),
         _("An adaptive clip needs the votes of at least 50 banks; there are %(banks)s."), _participants),
    _Row("schedule.late", _both(_clips_adaptively, lambda plan: plan.schedule.late == "next_round"),
         _("A late update was cut to an earlier round's clip than the one that adapted: discard late ones.")),
    # ---- secure aggregation
    _Row("schedule.mode", _both(_is_masked, _is_async),
         _("Masks cancel among banks that train from one version at a time; in async mode each starts from another. Choose sync.")),
    _Row("privacy.institution_dp.clip", _both(_is_masked, _clips_adaptively),
         _("The count that an adaptive clip follows is not masked: give a number.")),
    _Row("evaluation.segment", _both(_is_masked, lambda plan: plan.evaluation.segment is not None),
         _("Counts by group are not masked, so the portal would see each bank's: leave the segment out.")),
    _Row("schedule.late", _both(_is_masked, lambda plan: plan.schedule.mode == "sync" and plan.schedule.late == "next_round"),
         _("Masks cancel within one round's cohort, so a late update cannot count in the next round; discard late ones.")),
    _Row("participants", _both(_is_masked, lambda plan: len(plan.participants) > MAX_COHORT),
         _("Secure aggregation joins at most %(most)s banks; there are %(banks)s."),
         lambda plan: {"most": MAX_COHORT, "banks": len(plan.participants)}),
    _Row("privacy.secure_aggregation.min_cohort", _wants_too_large_a_cohort,
         _("The cohort cannot be larger than the %(banks)s participants."), _participants),
)

_IDLE = (
    _Row("preprocessing.numeric", lambda plan: plan.numeric_method != plan.preprocessing.numeric,
         _("A scorecard always weighs evidence, in monotonic bins.")),
    _Row("preprocessing.categorical", lambda plan: plan.categorical_method != plan.preprocessing.categorical,
         _("A scorecard always weighs the evidence of categories.")),
    _Row("training.epochs", _newton,
         _("Newton looks at every row once in a round; epochs, batches and the optimiser do not matter.")),
    _Row("schedule.select", _both(_newton, _selects_best),
         _("Newton's result is its last version: the optimum of all rows.")),
    _Row("strategy.weighting", _both(_is(*ROBUST), lambda plan: plan.strategy.weighting == "samples"),
         _("%(strategy)s gives each bank one voice, because rows are a bank's own claim."), _named),
    _Row("training.optimiser", _both(_is("scaffold", "fednova"), lambda plan: plan.training.optimiser != "sgd"),
         _("%(strategy)s is derived for sgd; with adam it is a good guess without a proof."), _named),
)
