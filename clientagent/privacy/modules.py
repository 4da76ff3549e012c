"""Clipped gradients of any ``torch.nn.Module``, by Opacus' hooks: the general path, for models that are no layers of ours.

Of Opacus only ``GradSampleModule`` is used: its loaders, accountants, generators and ghost clipping are not (with a loss of shape
(batch, 1) ghost clipping forgets to clip). A module is tried before it is trusted: ``self_test`` compares with one backward pass
a record, and lets one record grow beyond all measure. Needs the extra ``[dp]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clientagent.privacy.clipped import ClippedSum, clip_factors
from clientagent.training.local import FOCUS
from clientagent.wire.errors import PlanUnsupported, PrivacyUnsound, TensorsMismatch
from clientagent.wire.plan import Plan
from clientagent.wire.privacy.stream import Floats, Stream
from clientagent.wire.tensors import Array, Layout

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_ROWS = 512
"""Records whose gradients are held at a time: memory is rows times parameters."""
Losses = Callable[["Tensor", "Tensor"], "Tensor"]
"""From logits (batch,) and labels (batch,) to each record's own loss (batch,)."""


class ModuleGradients:
    """For a module that turns rows (batch, inputs) into logits (batch,) and whose records do not see each other."""

    def __init__(self, module: nn.Module, layout: Layout, losses: Losses) -> None:
        self._layout, self._losses = layout, losses
        self._module = _hooked(module)
        self._parameters = dict(self._module._module.named_parameters())
        shapes = {name: tuple(value.shape) for name, value in self._parameters.items()}
        if shapes != layout.shapes:
            raise TensorsMismatch(expected=f"{layout.shapes}"[:500], got=f"{shapes}"[:500])
        self.noise_scale = np.ones(layout.parameters)
        self.drops = True

    def __call__(self, weights: Array, rows: Array, labels: Array, *, clip: float, stream: Stream) -> ClippedSum:
        import torch

        self._load(weights)
        torch.manual_seed(int(stream.words(1)[0] >> np.uint64(1)))  # for dropout only
        total, clipped = np.zeros(self._layout.parameters), 0
        for start in range(0, len(rows), MOST_ROWS):
            part = slice(start, start + MOST_ROWS)
            some = self._some(torch.from_numpy(rows[part]), torch.from_numpy(labels[part]), clip)
            total, clipped = total + some.total, clipped + some.clipped
        return ClippedSum(total, clipped)

    def _some(self, rows: Tensor, labels: Tensor, clip: float) -> ClippedSum:
        import torch

        self._module.train()
        for part in self._module.modules():
            if isinstance(part, torch.nn.modules.dropout._DropoutNd):
                part.train(self.drops)
        self._module.zero_grad(set_to_none=True)
        losses = self._losses(self._module(rows), labels)
        if losses.shape != labels.shape:
            raise PrivacyUnsound(expected=f"one loss a record, {tuple(labels.shape)}", got=f"{tuple(losses.shape)}")
        losses.sum().backward()
        samples = {name: value.grad_sample.reshape(len(rows), -1) for name, value in self._parameters.items()}
        squares = sum((sample.double() ** 2).sum(dim=1) for sample in samples.values())
        norms = np.sqrt(np.asarray(squares))
        factors, usable = clip_factors(norms, clip), np.isfinite(norms)
        return ClippedSum(self._sum(samples, factors, usable), int(np.count_nonzero(factors < 1)), float(norms[usable].sum()))

    def _sum(self, samples: dict[str, Tensor], factors: Array, usable: NDArray[np.bool_]) -> Floats:
        shapes = self._layout.shapes
        sums = {name: (factors[usable] @ part.numpy()[usable]).reshape(shapes[name]) for name, part in samples.items()}
        return self._layout.flatten(sums).astype(np.float64)

    def _load(self, weights: Array) -> None:
        import torch

        with torch.no_grad():
            for name, tensor in self._layout.unflatten(weights).items():
                self._parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(tensor)))


def _hooked(module: nn.Module):  # type: ignore[no-untyped-def]
    """The module with per-record gradients. Raises ``PlanUnsupported`` and ``PrivacyUnsound``."""
    try:
        from opacus.grad_sample import GradSampleModule
        from opacus.validators import ModuleValidator
    except ModuleNotFoundError as error:
        raise PlanUnsupported(expected="Opacus: pip install 'fedagent[dp]'", got=f"no {error.name}") from error
    if problems := ModuleValidator.validate(module, strict=False):
        raise PrivacyUnsound(expected="layers that treat each record by itself", got=str(problems[0])[:300])
    return GradSampleModule(module, batch_first=True, loss_reduction="sum")


def self_test(gradients: ModuleGradients, *, inputs: int, clip: float = 1.0, rows: int = 32) -> None:
    """Hold a module's clipped sum against one backward pass a record. Raises ``PrivacyUnsound`` where they differ.

    Then replace one record by a huge one: the sum of the others must stay as it was, to within the bound.
    """
    gradients.drops = False
    stream = Stream(bytes(32))
    table = stream.gaussian(rows * inputs).reshape(rows, inputs).astype(np.float32)
    labels = (np.arange(rows) % 2).astype(np.float32)
    weights = (0.3 * stream.gaussian(gradients.noise_scale.size)).astype(np.float32)

    def summed(matrix: Array, values: Array) -> Floats:
        return gradients(weights, matrix, values, clip=clip, stream=stream).total

    alone = sum(summed(table[i : i + 1], labels[i : i + 1]) for i in range(rows))
    together = summed(table, labels)
    if not np.allclose(together, alone, atol=1e-3 * clip):
        raise PrivacyUnsound(expected="a clipped sum that equals the sum of single records", got="another: they see each other")
    huge = table.copy()
    huge[0] = 1e6
    moved = float(np.linalg.norm(summed(huge, labels) - together))
    if not moved <= 2 * clip * (1 + 1e-3):
        raise PrivacyUnsound(expected=f"one record to move the sum by at most {2 * clip:g}", got=f"{moved:g}")
    gradients.drops = True


def record_losses(plan: Plan, class_weights: tuple[float, float]) -> Losses:
    """Each record's own loss, as ``training.class_weight`` says: weighted log loss, or focal loss."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    good, bad = class_weights

    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        plain = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        if plan.training.class_weight == "focal":
            return (1 - torch.exp(-plain)) ** FOCUS * plain
        return plain * torch.where(labels > 0, bad, good)

    return losses
