"""FedAvg: the weighted mean of the banks' differences (McMahan et al. 2017, algorithm 1)."""

from __future__ import annotations

import numpy as np

from rounds.algorithms.blocks import Block, Wide, rows


def combine(block: Block, weights: Wide) -> Wide:
    """sum_k w_k * d_k over banks k in the manifest's order; block (banks, width), weights (banks,) sum to 1, result (width,)."""
    total = np.zeros(block.shape[1])
    for weight, row in zip(weights, rows(block), strict=True):
        total += weight * row
    return total
