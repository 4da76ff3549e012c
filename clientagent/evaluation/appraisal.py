"""The result appraised at the bank: score distribution of the training rows, groups of customers, and what the bank gained.

Only counts that hold ``min_cell`` customers and figures of whole hold-outs leave. Where the plan protects single customers by
differential privacy nothing about training rows or gains leaves, and under secure aggregation no bank's own counts do.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from clientagent.data.table import Categories
from clientagent.evaluation.alone import best_of
from clientagent.evaluation.comparison import auc_estimate, auc_gain
from clientagent.evaluation.scores import losses, score, split_counts
from clientagent.preparation.preprocess import Inputs, Prepared
from clientagent.preparation.statistics import rounded
from clientagent.wire.messages import MOST_GROUPS, Appraisal, Gain, GroupCounts, ModelFigures, SplitCounts, WorkOrder
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array

log = logging.getLogger("fedagent.appraisal")


def wants_appraisal(plan: Plan) -> bool:
    """Whether anything may leave: an approved plan is what the bank consented to."""
    return sends_counts(plan) or sends_gain(plan)


def sends_counts(plan: Plan) -> bool:
    return plan.privacy.secure_aggregation is None and plan.privacy.record_dp is None and bool(plan.evaluation.every)


def sends_gain(plan: Plan) -> bool:
    return plan.evaluation.gains and plan.privacy.record_dp is None


def appraise(plan: Plan, order: WorkOrder, flat: Array, prepared: Prepared, personal: Array | None) -> Appraisal:
    """Everything that the plan lets this bank say of the result ``flat``. Trains a local model where gains are asked for."""
    found = Appraisal(
        run=order.run, manifest_digest=order.manifest_digest, institution=order.institution, number=order.base_number,
        version_digest=order.base_digest,
    )
    changes: dict[str, object] = {}
    if sends_counts(plan):
        changes["training"] = _counted(plan, flat, prepared.training)
        if prepared.segment is not None:
            changes |= {"segment": plan.evaluation.segment, "groups": groups_of(plan, flat, prepared.holdout, prepared.segment)}
    if sends_gain(plan):
        changes["gain"] = gain_of(plan, flat, prepared, personal)
    return found.model_copy(update=changes)


def gain_of(plan: Plan, flat: Array, prepared: Prepared, personal: Array | None = None) -> Gain:
    """Local, federated and personal model on the bank's own hold-out customers, none of whom trained any of them."""
    held = prepared.holdout
    log.info("training a model on %d rows of this bank alone, to compare", len(prepared.training.labels))
    local = score(plan, best_of(plan, prepared.training, prepared.validation), held.matrix)
    federated = score(plan, flat, held.matrix)
    own = score(plan, personal, held.matrix) if personal is not None else None
    return Gain(
        rows=len(held.labels), local=_figures(local, held, plan), federated=_figures(federated, held, plan),
        personal=_figures(own, held, plan) if own is not None else None,
        federated_gain=auc_gain(federated, local, held.labels) if _shown(held, plan) else None,
        personal_gain=auc_gain(own, local, held.labels) if own is not None and _shown(held, plan) else None,
    )


def groups_of(plan: Plan, flat: Array, held: Inputs, segment: Categories) -> list[GroupCounts]:
    """Counts of each group of the segment. Groups below ``min_cell`` customers are counted together, with as many of the
    smallest others as it takes to hide them; beyond ``MOST_GROUPS`` the smallest join them."""
    logits = score(plan, flat, held.matrix)
    sizes = {code: int(np.count_nonzero(segment.codes == code)) for code in range(-1, len(segment.values))}
    order = sorted((code for code, size in sizes.items() if size and code >= 0), key=lambda code: (-sizes[code], segment.values[code]))
    cell = plan.privacy.min_cell
    kept = [code for code in order[:MOST_GROUPS] if sizes[code] >= cell]
    folded = [code for code, size in sizes.items() if size and code not in kept]
    while kept and 0 < sum(sizes[code] for code in folded) < cell:
        folded.append(kept.pop())
    groups = [(segment.values[code], segment.codes == code) for code in sorted(kept, key=lambda code: segment.values[code])]
    if sum(sizes[code] for code in folded) >= cell:
        groups.append(("", np.isin(segment.codes, folded)))
    return [GroupCounts(group=name, holdout=_split(plan, logits, held, rows)) for name, rows in groups]


def _split(plan: Plan, logits: NDArray[np.float64], held: Inputs, rows: NDArray[np.bool_]) -> SplitCounts:
    return split_counts(plan, logits[rows], held.labels[rows])


def _counted(plan: Plan, flat: Array, inputs: Inputs) -> SplitCounts:
    return split_counts(plan, score(plan, flat, inputs.matrix), inputs.labels)


def _figures(logits: NDArray[np.float64], held: Inputs, plan: Plan) -> ModelFigures:
    loss = rounded(float(np.mean(losses(logits, held.labels)))) if len(held.labels) else 0.0
    return ModelFigures(auc=auc_estimate(logits, held.labels) if _shown(held, plan) else None, loss=loss)


def _shown(held: Inputs, plan: Plan) -> bool:
    """Small numbers hide: an AUC over a handful of customers of a class would nearly name them."""
    bad = int(held.labels.sum())
    return min(bad, len(held.labels) - bad) >= plan.privacy.min_cell
