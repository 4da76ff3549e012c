"""How much each bank counts: shares by declared rows or equal, with a cap on any one bank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def capped_shares(sizes: Sequence[float], max_weight: float) -> NDArray[np.float64]:
    """Shares (banks,) that sum to 1, proportional to ``sizes``, none above ``max_weight``.

    What is cut from a large bank is spread over the others in proportion (water filling), until no share exceeds
    the cap. A cap below 1 / banks cannot be met: then all shares are equal. Sizes that sum to zero give equal shares.
    """
    values = np.asarray(sizes, np.float64)
    banks = len(values)
    if banks == 0:
        return values
    if max_weight * banks <= 1 or not values.sum() > 0:
        return np.full(banks, 1 / banks)
    shares = values / values.sum()
    capped = np.zeros(banks, bool)
    while (over := (shares > max_weight + 1e-15) & ~capped).any():
        capped |= over
        free = 1 - max_weight * capped.sum()
        rest = values[~capped].sum()
        spread = values[~capped] / rest if rest > 0 else np.full((~capped).sum(), 1 / max((~capped).sum(), 1))
        shares[capped], shares[~capped] = max_weight, free * spread
    return shares


def staleness_factor(staleness: int, power: float) -> float:
    """(1 + s) ** -power, the polynomial discount of an update that is s versions behind (Xie et al. 2019, section 5.2)."""
    return float((1 + staleness) ** -power)
