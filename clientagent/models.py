"""The catalogue and the bank's plugins: a plan's family becomes a ``torch.nn.Module``, and a module's weights a flat vector and back.

torch is imported by whoever imports this module, so only training does.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from clientagent import plugins
from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array, Layout
from clientagent.wire.weights import layer_widths, layout_of


class Network(nn.Module):
    """Linear layers with ReLU and dropout between them; a logistic model or scorecard is the one layer ``Linear(inputs, 1)``."""

    def __init__(self, widths: list[int], dropout: float) -> None:
        super().__init__()
        pairs = zip(widths, widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairs)
        self.dropout = dropout

    def forward(self, rows: Tensor) -> Tensor:
        """Logits (rows,) of inputs (rows, inputs)."""
        *hidden, last = self.layers
        for layer in hidden:
            rows = nn.functional.relu(layer(rows))
            if self.dropout:
                rows = nn.functional.dropout(rows, self.dropout, self.training)
        logits: Tensor = last(rows)
        return logits.squeeze(-1)


def build(plan: Plan, inputs: int) -> tuple[nn.Module, Layout]:
    """The module of a plan, its weights not yet set, and where they lie.

    Raises ``PlanUnsupported`` and ``TensorsMismatch`` for a plugin that is not the plan's.
    """
    if plan.model.is_plugin:
        return plugins.build(plan, inputs), layout_of(plan, inputs)
    return Network(layer_widths(plan, inputs), plan.model.dropout), layout_of(plan, inputs)


def load_flat(module: nn.Module, layout: Layout, flat: Array) -> None:
    """Copy a flat vector (parameters,) into the module. Raises ``TensorsMismatch`` where the shapes are not the layout's."""
    layout.flatten({name: value.numpy() for name, value in module.state_dict().items()})
    module.load_state_dict({name: torch.from_numpy(part.copy()) for name, part in layout.unflatten(flat).items()})


def to_flat(module: nn.Module, layout: Layout) -> Array:
    """The module's weights as one float32 vector (parameters,)."""
    return layout.flatten({name: value.detach().numpy() for name, value in module.state_dict().items()}).astype(np.float32)
