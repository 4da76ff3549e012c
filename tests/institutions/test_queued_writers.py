"""Writers of one process wait in a queue before SQLite: they wake when their turn has come, and every way out gives it on."""

from __future__ import annotations

import threading

import pytest
from django.db import DatabaseError, connection, transaction

from fedportal.queued.sqlite3 import base
from institutions.models import Institution

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has a queue of its own"),
]


def is_free() -> bool:
    return not base._queues[str(connection.settings_dict["NAME"])].locked()


def test_many_threads_write_in_turn_and_none_is_lost():
    def write(i: int) -> None:
        try:
            with transaction.atomic():
                Institution.objects.create(slug=f"bank-{i}", name=f"Bank {i}")
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert Institution.objects.count() == 12
    assert is_free()


def test_a_transaction_that_fails_gives_its_turn_on():
    with pytest.raises(KeyError), transaction.atomic():
        raise KeyError
    assert is_free()


def test_a_connection_that_closes_within_a_transaction_gives_its_turn_on():
    with transaction.atomic():
        assert not is_free()
        connection.close()
    assert is_free()


def test_a_transaction_that_cannot_begin_gives_its_turn_on(monkeypatch: pytest.MonkeyPatch):
    def broken(self: object) -> None:
        raise DatabaseError("disk I/O error")

    monkeypatch.setattr(base.base.DatabaseWrapper, "_start_transaction_under_autocommit", broken)
    with pytest.raises(DatabaseError), transaction.atomic():
        pass
    assert is_free()


def test_who_waits_too_long_asks_sqlite_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "PATIENCE_S", 0.01)
    queue = base._queues[str(connection.settings_dict["NAME"])]
    with queue, transaction.atomic():
        Institution.objects.create(slug="north", name="North")
    assert Institution.objects.filter(slug="north").exists()
    assert is_free()
