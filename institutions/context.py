"""What every page knows about its reader: ``role`` ("" for nobody) and ``my_institution`` (an operator's, or nothing)."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from institutions.permissions import institution_of, role_of


def seat(request: HttpRequest) -> dict[str, object]:
    user = getattr(request, "user", None)
    return {
        "role": SimpleLazyObject(lambda: str(role_of(user) or "")),
        "my_institution": SimpleLazyObject(lambda: institution_of(user)),
    }
