"""The portal's root key: what agents pin at enrolment and what signs everything that they must trust."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from clientagent.wire.signing import PrivateKey
from institutions.secret_file import made_once


def portal_key() -> PrivateKey:
    """The root key, made on first use."""
    return _load(Path(settings.FEDPORTAL_PORTAL_KEY))


@lru_cache(maxsize=8)
def _load(path: Path) -> PrivateKey:
    return PrivateKey.from_pem(made_once(path, lambda: PrivateKey.generate().to_pem()))
