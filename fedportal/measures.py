"""Sizes and times as people read them: at most two units, a narrow space before the unit."""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import gettext as _

NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def bytes_text(count: int | float) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5 or unit == "GB":
            digits = 0 if unit == "B" or size >= 100 else 1
            return f"{number_format(round(size, digits), digits)}{NARROW_SPACE}{unit}"
        size /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    if seconds < 9.95:
        return _("%(n)s s") % {"n": number_format(round(seconds, 1), 1)}
    whole = round(seconds)
    if whole < 60:
        return _("%(n)s s") % {"n": whole}
    if whole < 3600:
        return _("%(m)s min %(s)s s") % {"m": whole // 60, "s": whole % 60}
    if whole < 86_400:
        return _("%(h)s h %(m)s min") % {"h": whole // 3600, "m": whole % 3600 // 60}
    return _("%(d)s d %(h)s h") % {"d": whole // 86_400, "h": whole % 86_400 // 3600}
