"""Numbers at which cells may end: those of four significant digits. Coarse enough to be nobody's, fine enough for years and ages."""

from __future__ import annotations

DIGITS = 4


def rounded_to_grid(value: float) -> float:
    """The nearest number of four significant digits; a fixed point for those, and never -0."""
    return float(f"{value:.{DIGITS - 1}e}") + 0.0
