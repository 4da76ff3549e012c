"""What every test stands on: a scratch data folder, empty caches, the ledger's triggers in place, and the cast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.cache import caches
from django.db import connection
from django.test.utils import override_settings

from audit import guard
from tests.cast import admin, auditor, north, outsider, south
from tests.services import postgres, redis

__all__ = ["admin", "auditor", "north", "outsider", "postgres", "redis", "south"]


@pytest.fixture(scope="session", autouse=True)
def scratch_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys, blobs and wheels of tests lie apart from those of the checkout; hashing is cheap, keys are real."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("blobs", "keys", "wheels"):
        (folder / name).mkdir()
    storages = {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": str(folder / "blobs")},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    with override_settings(
        FEDPORTAL_DATA_DIR=folder, FEDPORTAL_PORTAL_KEY=folder / "keys" / "portal.pem",
        FEDPORTAL_WHEEL_DIR=folder / "wheels", STORAGES=storages,
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    ):
        yield folder


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """Nonces, knocks and rate limits of one test are nothing to the next."""
    yield
    for cache in caches.all():
        cache.clear()


TRANSACTIONAL = {"transactional_db", "live_server", "django_db_reset_sequences", "django_db_serialized_rollback"}


@pytest.fixture(autouse=True)
def ledger_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """The triggers refuse the emptying of the tables between transactional tests, so they are off for just that."""
    marker = request.node.get_closest_marker("django_db")
    transactional = TRANSACTIONAL & set(request.fixturenames) or (marker and marker.kwargs.get("transaction"))
    if not transactional:
        if marker or "db" in request.fixturenames:
            request.getfixturevalue("db")
            _install_if_missing()
        yield
        return
    request.getfixturevalue("transactional_db")
    _install_if_missing()
    yield
    guard.remove(connection)


def _install_if_missing() -> None:
    if "audit_entry" not in connection.introspection.table_names():
        return
    guard.remove(connection)
    guard.install(connection)
