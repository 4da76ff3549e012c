"""What the portal holds of a bank after one round: made by the agent's own training, noise, codec and masks.

Randomness comes from the self-test's seed, so that a test can be repeated; in a run it comes from the operating system.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clientagent.leakage.customers import POSITIVES
from clientagent.leakage.masked import masked_and_opened
from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.catalogue import balanced, gradients_of
from clientagent.privacy.clipped import ClippedGradients
from clientagent.privacy.dpsgd import train_privately
from clientagent.privacy.training import pull_of
from clientagent.training.contribution import Trained, contribute, outgoing
from clientagent.training.local import LocalTraining, Progress
from clientagent.training.strategies import Correction, Given
from clientagent.wire.codecs import decode
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.institution import FIRST_ADAPTIVE_CLIP, base_clip
from clientagent.wire.privacy.stream import KEY_BYTES, Stream
from clientagent.wire.privacy.terms import RecordTerms, record_terms
from clientagent.wire.strategies import number_of, uplink_layout
from clientagent.wire.tensors import Array, unpack

Rng = np.random.Generator


@dataclass(frozen=True)
class Exchange:
    """Updates of a plan whose model takes ``inputs`` inputs made of ``features`` features."""

    plan: Plan
    inputs: int
    features: int

    @cached_property
    def banks(self) -> int:
        """Banks in a sum: the smallest cohort that the plan allows; 1 where each update is seen alone."""
        secure = self.plan.privacy.secure_aggregation
        return secure.min_cohort if secure else 1

    def seen(self, base: Array, groups: list[Inputs], rng: Rng, *, round_number: int = 1) -> dict[str, Array]:
        """What the portal can read of the first bank's ``groups``: its update, or its masked words and the opened mean.

        Each is a vector (parameters,) in the place of an update.
        """
        made = [self.update(base, rows, rng, round_number=round_number) for rows in groups[: self.banks]]
        if self.banks == 1:
            return {"update": made[0]}
        masked, mean = masked_and_opened(self.plan, made, rng)
        return {"masked": masked, "sum": mean}

    def update(self, base: Array, rows: Inputs, rng: Rng, *, round_number: int = 1, declared: int | None = None) -> Array:
        """One bank's update (parameters,), as the portal decodes it. Of Newton's sums: the step that they lead to.

        ``declared``: the public number of rows, which record_dp goes by; the rows that are there where left out.
        """
        flat = self._sent(base, rows, rng, round_number, declared or len(rows.labels))
        layout = uplink_layout(self.plan, self.inputs)
        parts = layout.unflatten(flat) if layout.names[0] != "layers.0.bias" else {"update": flat}
        return _newton_step(self.plan, parts, len(rows.labels)) if "hessian" in parts else parts["update"]

    def _sent(self, base: Array, rows: Inputs, rng: Rng, round_number: int, declared: int) -> Array:
        given, seed = Given(base, 1 / self.banks, self.banks), int(rng.integers(2**31))
        trained_by = self._privately(base, rows, rng, round_number, declared)
        made = contribute(self.plan, given, rows, round_number=round_number, seed=seed, trained_by=trained_by)
        if self.plan.privacy.secure_aggregation:
            return made.flat  # its codec is the ring's
        layout = uplink_layout(self.plan, self.inputs)
        clip = base_clip(self.plan, told=FIRST_ADAPTIVE_CLIP, base_number=0)
        data = outgoing(self.plan, given, made, self.inputs, seed=seed, clip=clip).data
        if self.plan.compression.codec == "none":
            return unpack(data, layout)
        return np.concatenate(list(decode(io.BytesIO(data), self.plan.compression, layout.parameters)))

    def _privately(self, base: Array, rows: Inputs, rng: Rng, round_number: int, declared: int) -> Trained | None:
        if self.plan.privacy.record_dp is None:
            return None
        terms, stream = self.terms(declared), Stream(rng.bytes(KEY_BYTES))

        def trained(asked: Correction, progress: Progress | None) -> LocalTraining:
            made = train_privately(
                self.plan, base, rows, self._gradients(terms), terms, round_number=round_number, stream=stream,
                pull=pull_of(asked),
            )
            return LocalTraining(made.update, made.steps, None, made.seconds)

        return trained

    def terms(self, rows: int) -> RecordTerms:
        """Of record_dp for a bank with so many rows. Raises ``PlanUnsupported`` without the accountant."""
        return record_terms(self.plan, rows)

    def _gradients(self, terms: RecordTerms) -> ClippedGradients:
        weights = (1.0, 1.0)
        if self.plan.training.class_weight == "balanced":
            weights = balanced(terms.rows, POSITIVES * terms.rows)  # public here: no row decides it
        return gradients_of(self.plan, inputs=self.inputs, features=self.features, class_weights=weights)


def _newton_step(plan: Plan, parts: dict[str, Array], rows: int) -> Array:
    """- (H / n + ridge)^-1 g / n, as the portal takes it of one bank's sums."""
    gradient = parts["gradient"].astype(np.float64) / rows
    size = len(gradient)
    hessian: NDArray[np.float64] = np.zeros((size, size))
    hessian[np.triu_indices(size)] = parts["hessian"] / rows
    hessian += np.triu(hessian, 1).T + max(number_of(plan.strategy, "ridge"), 1e-6) * np.eye(size)
    return (-np.linalg.solve(hessian, gradient)).astype(np.float32)
