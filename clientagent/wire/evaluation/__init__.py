"""What counts per score bin tell of a model: curves, cuts, calibration, stability, each with how far the truth may lie off.

Pure numpy, so that an auditor computes every figure again from the counts that the banks signed.
"""

from clientagent.wire.evaluation.curves import Curve, cumulative, gain_curve, pr_curve, roc_curve
from clientagent.wire.evaluation.cuts import (
    Confusion,
    confusion,
    cut_for_budget,
    cut_of,
    logit_of,
    probability_of,
    recall_at_budget,
    recall_at_fpr,
)
from clientagent.wire.evaluation.figures import FALSE_RATES, figures_of
from clientagent.wire.evaluation.probability import Calibration, brier, calibration
from clientagent.wire.evaluation.ranking import auc_interval, average_precision, bounded_auc, ks_cut
from clientagent.wire.evaluation.stability import STABLE, UNSTABLE, stability
from clientagent.wire.evaluation.tally import Bounded, Tally, empty_tally, tally_of

__all__ = [
    "FALSE_RATES", "STABLE", "UNSTABLE", "Bounded", "Calibration", "Confusion", "Curve", "Tally", "auc_interval",
    "average_precision", "bounded_auc", "brier", "calibration", "confusion", "cumulative", "cut_for_budget", "cut_of",
    "empty_tally", "figures_of", "gain_curve", "ks_cut", "logit_of", "pr_curve", "probability_of", "recall_at_budget",
    "recall_at_fpr", "roc_curve", "stability", "tally_of",
]
