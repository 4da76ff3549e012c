"""Inputs read off the first layer, and inputs found by gradient inversion: whose data made this update?

A unit's weight gradient is its error times the input, its bias gradient is that error: their ratio is the input itself where one
customer moved the unit (Phong et al. 2018, "Privacy-preserving deep learning via additively homomorphic encryption", section 3).
Steps, Adam by layer and clipping scale both alike, so a correlation sees through them.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from clientagent.wire.plan import Plan
from clientagent.wire.tensors import Array
from clientagent.wire.weights import layout_of

Numbers = NDArray[np.float64]
STEPS, RESTARTS, RATE = 200, 2, 0.1
"""Of the inversion: enough for a handful of customers, and seconds on one core."""


def read_off(plan: Plan, update: Array, inputs: int) -> Numbers:
    """Candidates (units, inputs) for a customer's inputs: the first layer's weight change by its bias change."""
    tensors = layout_of(plan, inputs).unflatten(update)
    weight, bias = tensors["layers.0.weight"].astype(np.float64), tensors["layers.0.bias"].astype(np.float64)
    moved = np.abs(bias) > 1e-12
    found: Numbers = weight[moved] / bias[moved, None]
    return found


def best_of(candidates: Numbers, rows: Array) -> float:
    """Mean over customers (rows, inputs) of the best candidate's correlation; 0 without a candidate."""
    if not len(candidates):
        return 0.0
    return float(correlations(rows, candidates).max(axis=1).mean())


def best_match(candidates: Numbers, rows: Array) -> float:
    """Mean correlation under the best pairing of as many candidates as customers: who is who is not asked of the attacker."""
    found = correlations(rows, candidates)
    return max(float(np.mean([found[i, j] for i, j in enumerate(order)])) for order in permutations(range(len(rows))))


def correlations(first: NDArray[np.floating], second: NDArray[np.floating]) -> Numbers:
    """Pearson's, over inputs, of each row (n, inputs) with each row (m, inputs): (n, m); 0 where one does not vary."""
    left, right = _standard(first), _standard(second)
    return np.clip(left @ right.T, -1.0, 1.0)


def _standard(rows: NDArray[np.floating]) -> Numbers:
    centred = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    standard: Numbers = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 1e-300)
    return standard


def inverted(plan: Plan, base: Array, update: Array, labels: NDArray[np.integer], inputs: int, seed: int) -> Numbers:
    """Customers (rows, inputs) whose gradient at ``base`` points where the update does (Geiping et al. 2020, equation 4).

    Cosine distance, Adam, the best of ``RESTARTS``. The labels are given to the attacker, who can mostly infer them.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from clientagent import models

    torch.set_num_threads(1)
    module, layout = models.build(plan, inputs)
    models.load_flat(module, layout, base)
    module.eval()
    parameters = dict(module.named_parameters())
    weights = [parameters[name] for name in layout.names]
    wanted = torch.from_numpy(-update.astype(np.float32))
    wanted = wanted / wanted.norm().clamp_min(1e-30)
    targets = torch.from_numpy(labels.astype(np.float32))
    random = torch.Generator().manual_seed(seed)
    best: tuple[float, Numbers] | None = None
    for _ in range(RESTARTS):
        guess = torch.randn(len(labels), inputs, generator=random, requires_grad=True)
        optimiser = torch.optim.Adam([guess], lr=RATE)
        distance = float("inf")
        for _ in range(STEPS):
            loss = binary_cross_entropy_with_logits(module(guess), targets)
            gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, weights, create_graph=True)])
            apart = 1 - gradient @ wanted / gradient.norm().clamp_min(1e-12)
            optimiser.zero_grad()
            (guess.grad,) = torch.autograd.grad(apart, [guess])
            optimiser.step()
            distance = float(apart.detach())
        if best is None or distance < best[0]:
            best = distance, guess.detach().double().numpy()
    assert best is not None
    return best[1]
