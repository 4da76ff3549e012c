"""What a plan will do, in plain words and round numbers, before anybody starts it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from clientagent.wire.errors import Refusal
from clientagent.wire.masking import Ring, fewest_in_sum, statistics_segments, threshold_for
from clientagent.wire.plan import Feature, Plan
from clientagent.wire.privacy.institution import honest_banks, institution_terms, repeats_of
from clientagent.wire.privacy.terms import not_covered
from clientagent.wire.strategies import uplink_layout
from clientagent.wire.weights import layout_of
from institutions.saying import refusal_text
from rounds.selectors.outlooks import terms_of

UNKNOWN_CATEGORIES = 6
"""Categories assumed of a feature whose categories the statistics stage will agree."""
MOST_ROWS = 2**20
"""Rows of a bank that masked statistics are assumed to have room for."""


About = Literal["run", "protects", "leaves", "costs"]
HEADINGS: dict[About, str | Promise] = {
    "run": gettext_lazy("What happens"),
    "protects": gettext_lazy("What is protected, and from whom"),
    "leaves": gettext_lazy("What stays in sight"),
    "costs": gettext_lazy("What it costs"),
}


@dataclass(frozen=True)
class Effect:
    """One sentence. ``url``: where there is more of it."""

    icon: str
    text: str
    about: About = "run"
    url: str = ""


def by_heading(effects: Iterable[Effect]) -> list[tuple[str | Promise, list[Effect]]]:
    """The sentences of each heading that has any, in the order of ``HEADINGS``."""
    found = list(effects)
    groups = [(title, [effect for effect in found if effect.about == about]) for about, title in HEADINGS.items()]
    return [(title, group) for title, group in groups if group]


def effects_of(plan: Plan) -> list[Effect]:
    return [_rounds(plan), _traffic(plan), _waiting(plan), _data(plan), _result(plan), *_protection(plan)]


def expected_inputs(plan: Plan) -> tuple[int, bool]:
    """About how many inputs the model will have, and whether all categories are already known."""
    known = all(feature.categories is not None for feature in plan.features if feature.kind == "categorical")
    number = plan.preprocessing.bins if plan.numeric_method in ("bins", "piecewise") else 1
    return sum(number if feature.kind == "numeric" else _category_inputs(plan, feature) for feature in plan.features), known


def _category_inputs(plan: Plan, feature: Feature) -> int:
    if plan.categorical_method == "woe":
        return 1
    return (len(feature.categories) if feature.categories is not None else UNKNOWN_CATEGORIES) + 1


BYTES_A_VALUE = {"none": 4.0, "bfloat16": 1.5, "int8": 0.85}
"""About what a value of an update takes under each codec, as measured on real updates."""
BYTES_A_SENT_VALUE = 2.2
"""Of the values that topk sends: the value and its place."""


def update_bytes(plan: Plan) -> int:
    """About how many bytes an update takes on its way."""
    inputs, _known = expected_inputs(plan)
    codec = plan.compression
    each = BYTES_A_SENT_VALUE * codec.share if codec.codec == "topk" else BYTES_A_VALUE[codec.codec]
    return round(each * uplink_layout(plan, inputs).parameters)


def masked_statistics_bytes(plan: Plan) -> int:
    """About how many bytes a bank sends before round 1 where its statistics are masked, whatever they are."""
    if not plan.masks_statistics:
        return 0
    return 4 * Ring(len(plan.participants), statistics_segments(plan, most_rows=MOST_ROWS)).words


def version_bytes(plan: Plan) -> int:
    """About how many bytes a version has."""
    inputs, _known = expected_inputs(plan)
    return 4 * layout_of(plan, inputs).parameters


def _rounds(plan: Plan) -> Effect:
    banks = len(plan.participants)
    words = {"rounds": plan.schedule.rounds, "strategy": plan.strategy.name, "needed": plan.needed(banks), "banks": banks}
    return Effect("activity", _("%(rounds)d rounds of %(strategy)s; each needs %(needed)d of %(banks)d banks.") % words)


def _traffic(plan: Plan) -> Effect:
    up, down = update_bytes(plan), version_bytes(plan)
    total = ((up + down) * plan.schedule.rounds + masked_statistics_bytes(plan)) * len(plan.participants)
    words = {"up": size_text(up), "down": size_text(down), "total": size_text(total)}
    return Effect("cloud-upload", _("About %(up)s up and %(down)s down per bank and round, %(total)s in all.") % words, "costs")


def _waiting(plan: Plan) -> Effect:
    return Effect(
        "clock",
        _(
            "A round that lacks banks after %(deadline)s is abandoned and tried again; "
            "after 3 attempts the run pauses and says why."
        )
        % {"deadline": span_text(plan.schedule.deadline_s)},
    )


def _data(plan: Plan) -> Effect:
    share = 1 - plan.evaluation.validation - plan.evaluation.holdout
    words = {
        "train": round(100 * share),
        "validation": round(100 * plan.evaluation.validation),
        "holdout": round(100 * plan.evaluation.holdout),
        "epochs": plan.training.epochs,
    }
    if plan.training.epochs == 0:
        return Effect("database", _("No training: 0 epochs rehearse the plumbing."))
    return Effect(
        "database",
        ngettext(
            "Each bank trains %(epochs)d pass per round on %(train)d %% of its rows; "
            "%(validation)d %% choose the result, %(holdout)d %% report on it.",
            "Each bank trains %(epochs)d passes per round on %(train)d %% of its rows; "
            "%(validation)d %% choose the result, %(holdout)d %% report on it.",
            plan.training.epochs,
        )
        % words,
    )


def _result(plan: Plan) -> Effect:
    if plan.schedule.select == "last":
        return Effect("rosette-discount-check", _("The result is the last version."))
    return Effect("rosette-discount-check", _("The result is the version with the lowest pooled validation loss."))


def _protection(plan: Plan) -> list[Effect]:
    privacy = plan.privacy
    effects = [
        Effect(
            "shield",
            _("Totals are published over at least %(banks)d banks; bins and categories hold at least %(cell)d customers.")
            % {"banks": privacy.min_banks, "cell": privacy.min_cell},
            "protects",
        )
    ]
    if privacy.secure_aggregation is None:
        effects.append(Effect("eye", _("The portal sees each bank's update: no secure aggregation."), "leaves"))
    else:
        effects += _masked(plan)
    effects += [*_customers(plan), *_banks(plan)]
    if privacy.record_dp is None and privacy.institution_dp is None:
        text = _("No differential privacy: no noise hides one customer or one bank in the versions.")
        effects.append(Effect("info-circle", text, "leaves"))
    return effects


def _customers(plan: Plan) -> list[Effect]:
    """What record_dp promises, what a run of this plan costs a customer, and what the promise leaves out."""
    record = plan.privacy.record_dp
    if record is None:
        return []
    try:
        terms = terms_of(plan, None)
    except Refusal as refusal:
        return [Effect("alert-triangle", refusal_text(refusal), "costs")]
    half = max(terms.updates // 2, 1)
    words = {
        "epsilon": f"{record.epsilon:g}", "delta": f"{terms.delta:.1g}", "noise": f"{terms.noise_multiplier:.3g}",
        "clip": f"{record.clip:g}", "first": f"{terms.epsilon_after(1):.2g}", "half": f"{terms.epsilon_after(half):.2g}",
        "n": half, "all": terms.updates, "share": round(100 * record.sampling),
    }
    return [
        Effect("shield-check", _(
            "Each customer of each bank loses at most epsilon %(epsilon)s (delta %(delta)s) over the whole run, to everybody "
            "beyond the own bank, the portal included."
        ) % words, "protects"),
        Effect("activity", _(
            "Each step looks at about %(share)d %% of the rows, cuts each gradient at %(clip)s and adds %(noise)s times as much "
            "noise; banks with few rows pay most in accuracy."
        ) % words, "costs"),
        Effect("scale", _(
            "It spends epsilon %(first)s by the first update, %(half)s by update %(n)d and %(epsilon)s by update %(all)d."
        ) % words, "costs"),
        *(Effect("eye", _(row.reason) % row.values, "leaves") for row in not_covered(plan)),
    ]


def _banks(plan: Plan) -> list[Effect]:
    """What institution_dp promises, to whom, and what it leaves out."""
    bank = plan.privacy.institution_dp
    if bank is None:
        return []
    try:
        terms = institution_terms(plan)
    except Refusal as refusal:
        return [Effect("alert-triangle", refusal_text(refusal), "costs")]
    banks, masked = len(plan.participants), plan.privacy.secure_aggregation is not None
    honest = honest_banks(fewest_in_sum(plan, banks)) if masked else banks
    words: dict[str, str | int] = {
        "epsilon": f"{bank.epsilon:g}", "delta": f"{bank.delta:.1g}", "clip": f"{terms.clip:g}",
        "times": f"{terms.update_noise / math.sqrt(honest * banks):.2g}", "honest": honest, "spare": repeats_of(plan),
    }
    adapting = _(
        "The clip adapts: it begins at norm %(clip)s and follows the median norm of the banks' updates, by at most a tenth a round. A "
        "count with noise says how many were within it; that count is part of the epsilon."
    )
    towards = _shared_noise(words) if masked else [
        Effect("shield-check", _(
            "Each bank as a whole loses at most epsilon %(epsilon)s (delta %(delta)s) over the whole run, to whoever sees the "
            "versions; not to the portal, which sees single updates and adds the noise."
        ) % words, "protects"),
    ]  # fmt: skip
    return [
        *towards,
        Effect("activity", _(
            "Updates are cut at norm %(clip)s and the mean gets noise of %(times)s times that in every weight: with few banks, "
            "expect a much weaker model."
        ) % words, "costs"),
        *([Effect("activity", adapting % words, "costs")] if terms.adaptive else []),
        Effect("eye", _("The statistics stage and evaluation counts carry no noise for banks."), "leaves"),
    ]


def _shared_noise(words: dict[str, str | int]) -> list[Effect]:
    """What noise in shares promises, and what it is sized for."""
    return [
        Effect("shield-check", _(
            "Each bank as a whole loses at most epsilon %(epsilon)s (delta %(delta)s) over the whole run, to whoever sees the "
            "versions and to the portal: each bank adds its share of the noise, and only the noised sum is opened."
        ) % words, "protects"),
        Effect("scale", _(
            "The shares of %(honest)d banks make the promised noise: the fewest that a sum needs, less one that knows its own. An "
            "attempt that failed after updates had left is charged; %(spare)d such attempts fit into the run's epsilon."
        ) % words, "costs"),
    ]


def _masked(plan: Plan) -> list[Effect]:
    """What masks hide, from whom, what they cost, and what they leave in sight."""
    banks = len(plan.participants)
    threshold = threshold_for(plan.privacy.secure_aggregation.threshold, banks)  # type: ignore[union-attr]
    words = {
        "threshold": threshold, "banks": banks, "smallest": plan.needed(banks), "tolerated": max(2 * threshold - banks - 1, 0),
        "stage": span_text(plan.schedule.stage_timeout_s),
    }
    return [
        Effect("shield-lock", _("The portal sees only the sum of updates, over at least %(smallest)d banks.") % words, "protects"),
        Effect("users", _(
            "Of a full cohort %(threshold)d of %(banks)d banks must stay to the end; nothing of one bank is learnt even if "
            "%(tolerated)d banks collude with the portal."
        ) % words, "protects"),
        Effect("hourglass", _("A bank that falls out costs one stage of %(stage)s, not the round's deadline.") % words, "costs"),
        Effect("shield-lock", _("Evaluation counts are masked too: figures are shown of all banks together, never of one."), "protects"),
        _masked_statistics(plan),
    ]


def _masked_statistics(plan: Plan) -> Effect:
    """Whether the statistics stage sums under masks."""
    if plan.masks_statistics:
        said = _("Preprocessing statistics are masked too: the portal sees only their sum over all banks.")
        return Effect("shield-lock", said, "protects")
    return Effect("eye", _(
        "The portal sees each bank's preprocessing statistics: this plan's cells of numbers are each bank's own and do not add up. "
        "Choose zscore and no scorecard to have them masked."
    ), "leaves")  # fmt: skip


def size_text(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def span_text(seconds: float) -> str:
    if seconds < 120:
        return _("%(n)g seconds") % {"n": seconds}
    return (
        _("%(n)g minutes") % {"n": round(seconds / 60, 1)}
        if seconds < 7200
        else _("%(n)g hours") % {"n": round(seconds / 3600, 1)}
    )
