"""Settings that do not make sense together are refused at start."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


@register()
def processes_share_what_they_must(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    sqlite = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    if settings.REDIS_URL and sqlite:
        return [
            Warning(
                "REDIS_URL is set, but the database is SQLite.",
                hint="Several processes on one SQLite file are slow; set DATABASE_URL to a PostgreSQL database.",
                id="fedportal.W001",
            )
        ]
    return []


@register()
def public_address_is_https(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    url = settings.FEDPORTAL_URL
    loopback = ("http://127.0.0.1", "http://localhost", "http://[::1]")
    if url and not url.startswith(("https://", *loopback)):
        return [
            Warning(
                f"FEDPORTAL_URL is {url}: people's passwords would travel in the clear.",
                hint="Put a TLS proxy in front and use its https address.", id="fedportal.W002",
            )
        ]
    if url.endswith("/") or (url and "://" not in url):
        return [Error("FEDPORTAL_URL must look like https://portal.example", id="fedportal.E001")]
    return []
