"""Shapes and initial weights of a plan's model, in numpy, so that every side recomputes them to the same bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from clientagent.wire.plan import Plan
from clientagent.wire.tensors import BLOCK, Array, Layout, Shapes


def layer_widths(plan: Plan, inputs: int) -> list[int]:
    """Widths from input to output: [inputs, 1] for a logistic model, hidden layers between for an mlp."""
    hidden = plan.model.hidden if plan.model.family == "mlp" else []
    return [inputs, *hidden, 1]


def layout_of(plan: Plan, inputs: int) -> Layout:
    """Names as in torch: ``layers.i.weight`` (out, in) and ``layers.i.bias`` (out,), or a plugin's own as the plan lists them."""
    if plan.model.is_plugin:
        return Layout({tensor.name: tensor.widths(inputs) for tensor in plan.model.tensors})
    shapes: Shapes = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(layer_widths(plan, inputs))):
        shapes[f"layers.{i}.weight"] = (fan_out, fan_in)
        shapes[f"layers.{i}.bias"] = (fan_out,)
    return Layout(shapes)


def initial_weights(plan: Plan, inputs: int) -> Array:
    """The flat float32 vector of version 0.

    A logistic model and a scorecard start at zero. Layers of an mlp are uniform in +-1/sqrt(fan_in), as torch's ``nn.Linear``
    (He et al. 2015 with a = sqrt(5)); tensors of a plugin start as the plan says, in its order. The stream is Philox's raw output
    (Salmon et al. 2011), which numpy keeps stable.
    """
    flat = np.zeros(layout_of(plan, inputs).parameters, np.float32)
    for start, values in initial_blocks(plan, inputs):
        flat[start : start + len(values)] = values
    return flat


def initial_blocks(plan: Plan, inputs: int) -> Iterator[tuple[int, Array]]:
    """The same in pieces: (position in the flat vector, values), in the order of the stream; what is not there is zero."""
    if plan.model.family in ("logistic", "scorecard"):
        return
    layout = layout_of(plan, inputs)
    stream = np.random.Philox(key=plan.training.seed)
    for name, bound in _bounds(plan, inputs):
        first, size = layout.start_of(name), math.prod(layout.shapes[name])
        for start in range(0, size, BLOCK):
            values = min(BLOCK, size - start)
            if bound is None:
                yield first + start, np.ones(values, np.float32)
                continue
            unit = (stream.random_raw(values) >> np.uint64(11)).astype(np.float64) * 2.0**-53
            yield first + start, ((2 * unit - 1) * bound).astype(np.float32)


def _bounds(plan: Plan, inputs: int) -> Iterator[tuple[str, float | None]]:
    """Each tensor that does not start at zero, and its bound; None: it starts at one."""
    for tensor in plan.model.tensors if plan.model.is_plugin else []:
        if tensor.start != "zeros":
            yield tensor.name, None if tensor.start == "ones" else 1 / math.sqrt(math.prod(tensor.widths(inputs)[1:]))
    for i, fan_in in enumerate([] if plan.model.is_plugin else layer_widths(plan, inputs)[:-1]):
        for name in (f"layers.{i}.weight", f"layers.{i}.bias"):
            yield name, 1 / math.sqrt(fan_in)
