"""An update under record_dp, as a round asks for it: the model's clipped gradients, the strategy's pull, the release's noise."""

from __future__ import annotations

import numpy as np

from clientagent.plugins import at_work
from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.catalogue import balanced, gradients_of
from clientagent.privacy.dpsgd import Pull, train_privately
from clientagent.privacy.releases import Release, Releases
from clientagent.runs import OwnClipping
from clientagent.training.local import PROGRESS_EVERY_S, LocalTraining, Progress, at_most_every
from clientagent.training.strategies import Correction
from clientagent.wire.messages import PreprocessingSpec
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.stream import Floats
from clientagent.wire.tensors import Array


def train_under_record_dp(
    plan: Plan, spec: PreprocessingSpec, base: Array, inputs: Inputs, releases: Releases, release: Release, round_number: int,
    correction: Correction | None = None, progress: Progress | None = None,
) -> LocalTraining:  # fmt: skip
    """The update of a reserved release; no loss is told, because no noise covers it. Raises ``NotFinite``, ``PlanUnsupported``."""
    terms, positives = releases.terms, releases.positives
    gradients = gradients_of(
        plan, inputs=inputs.matrix.shape[1], features=len(spec.numeric) + len(spec.categorical),
        class_weights=(1.0, 1.0) if positives is None else balanced(terms.rows, positives),
    )
    with at_work(plan):
        trained = train_privately(
            plan, base, inputs, gradients, terms, round_number=round_number, stream=release.stream, pull=pull_of(correction),
            progress=at_most_every(PROGRESS_EVERY_S, progress),
        )
    releases.note_clipping(release.name, OwnClipping(clip_share=trained.clip_share, mean_norm=trained.mean_norm))
    return LocalTraining(trained.update, trained.steps, None, trained.seconds)


def pull_of(correction: Correction | None) -> Pull | None:
    """A strategy's correction as a function of the weights alone; it looks at no row, so it costs nothing."""
    if correction is None or correction.is_idle:
        return None
    anchor = None if correction.anchor is None else correction.anchor.astype(np.float64)
    steady = None if correction.pull is None else correction.pull.astype(np.float64)

    def pull(weights: Floats) -> Floats:
        total = np.zeros_like(weights)
        if correction.slope and anchor is not None:
            total += correction.slope * (weights - anchor)
        if steady is not None:
            total += steady
        return total

    return pull
