"""All figures of a tally as one JSON document, the same for portal, download and auditor."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from clientagent.wire.evaluation.cuts import confusion, cut_for_budget, probability_of, recall_at_budget, recall_at_fpr
from clientagent.wire.evaluation.probability import brier, calibration, expected_calibration_error
from clientagent.wire.evaluation.ranking import auc_interval, average_precision, bounded_auc, ks_cut
from clientagent.wire.evaluation.tally import Bounded, Tally

FALSE_RATES = (0.01, 0.05, 0.1)
"""Shares of good customers at which recall is reported."""


def figures_of(tally: Tally, *, budget: float) -> dict[str, Any]:
    """Every figure: ``value`` of the counts, ``low`` and ``high`` around that of the scores; null where it is not defined.

    ``budget`` is the plan's ``evaluation.alert_budget``. ``logloss`` is exact: banks sum it from the scores themselves.
    """
    auc, ks = bounded_auc(tally), ks_cut(tally)
    groups = calibration(tally)
    cut = cut_for_budget(tally.at, budget)
    return {
        "rows": tally.rows, "good": tally.good, "bad": tally.bad,
        "auc": _json(auc), "auc_interval": auc_interval(tally.at) if auc else None,
        "gini": _json(Bounded(2 * auc.value - 1, 2 * auc.low - 1, 2 * auc.high - 1)) if auc else None,
        "ks": {**asdict(ks[0]), "cut": ks[1], "probability": probability_of(ks[1], tally.bins)} if ks else None,
        "average_precision": _json(average_precision(tally)),
        "logloss": tally.loss, "brier": _json(brier(tally)),
        "calibration": [asdict(group) for group in groups], "calibration_error": expected_calibration_error(groups),
        "recall_at_fpr": [{"rate": rate, **(_json(recall_at_fpr(tally, rate)) or {})} for rate in FALSE_RATES],
        "recall_at_budget": {"budget": budget, **(_json(recall_at_budget(tally, budget)) or {})},
        "budget_cut": {
            "cut": cut, "probability": probability_of(cut, tally.bins), **asdict(confusion(tally.at, cut)),
        },
    }  # fmt: skip


def _json(figure: Bounded | None) -> dict[str, float] | None:
    return asdict(figure) if figure else None
