"""The colours of charts: one palette that colour-blind readers can tell apart, the same bank in the same colour everywhere."""

from __future__ import annotations

from institutions.models import Institution

# Okabe & Ito (2008), without its yellow, which vanishes on white; order chosen so that neighbours differ most
BANKS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#7a5195", "#8c8c8c")
DASHES = ("solid", "dash", "dot", "dashdot")
POOLED = "ink"
"""Drawn in the page's own text colour, which differs between light and dark."""


def places() -> dict[int, int]:
    """The place of each institution in the palette: by the order in which they joined, which never changes."""
    keys = Institution.objects.order_by("pk").values_list("pk", flat=True)
    return {pk: place for place, pk in enumerate(keys)}


def colour(place: int) -> str:
    return BANKS[place % len(BANKS)]


def dash(place: int) -> str:
    """Beyond the palette's length the line's pattern tells banks apart."""
    return DASHES[place // len(BANKS) % len(DASHES)]
