"""Applies a strategy's correction to the gradients of a torch module. torch itself is never imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clientagent.training.strategies import Correction
from clientagent.wire.tensors import Array, Layout

if TYPE_CHECKING:
    from torch import Tensor, nn


class Corrector:
    """Call it between ``loss.backward()`` and ``optimiser.step()``."""

    def __init__(self, correction: Correction, module: nn.Module, layout: Layout) -> None:
        self._correction, self._layout = correction, layout
        self._parameters = dict(module.named_parameters())
        self._anchor = self._parts(correction.anchor)
        self._pull = self._parts(correction.pull)
        self._sums = self._parts(np.zeros(layout.parameters, np.float32) if correction.averages else None)
        self._steps = 0

    def __call__(self) -> None:
        if self._correction.is_idle:
            return
        self._steps += 1
        for name, parameter in self._parameters.items():
            gradient = parameter.grad
            assert gradient is not None
            if self._sums:
                self._sums[name].add_(gradient)
            if self._correction.slope:
                gradient.add_(parameter.detach() - self._anchor[name], alpha=self._correction.slope)
            if self._pull:
                gradient.add_(self._pull[name])

    @property
    def mean_gradient(self) -> Array | None:
        """The mean of the uncorrected gradients (parameters,), None before the first step or where it was not asked for."""
        if not self._sums or not self._steps:
            return None
        return self._layout.flatten({name: part.numpy() for name, part in self._sums.items()}) / np.float32(self._steps)

    def _parts(self, flat: Array | None) -> dict[str, Tensor]:
        """A flat vector cut into tensors like the module's."""
        if flat is None:
            return {}
        parts = self._layout.unflatten(flat)
        return {name: parameter.new_tensor(parts[name]) for name, parameter in self._parameters.items()}
