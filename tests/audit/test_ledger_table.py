"""The ledger in the database: sealed, chained, final."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from audit.models import Chain, Entry
from audit.selectors import head_of, links_since, verify
from audit.services import anchor, append
from clientagent.wire.errors import LedgerBroken
from clientagent.wire.ledger import GENESIS, extend, verify_chain

pytestmark = pytest.mark.django_db


def _append(n: int, chain: str = "run/x") -> Entry:
    with transaction.atomic():
        return append(chain=chain, kind="noted", actor="portal", body={"n": n})


def test_entries_chain_to_a_head_that_verifies():
    entries = [_append(n) for n in range(5)]
    assert head_of("run/x") == (5, entries[-1].hash)
    assert verify("run/x") == entries[-1].hash


def test_links_prove_that_one_head_extends_another():
    first = _append(0)
    for n in range(1, 4):
        last = _append(n)
    assert extend(first.hash, links_since("run/x", 1, upto=4)) == last.hash
    assert extend(GENESIS, links_since("run/x", 0, upto=4)) == last.hash


def test_an_entry_outside_a_transaction_is_a_fault_of_ours(transactional_db):
    with pytest.raises(RuntimeError, match="transaction"):
        append(chain="run/x", kind="noted", actor="portal", body={})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET actor = 'somebody else'",
        "DELETE FROM audit_entry",
        "INSERT OR REPLACE INTO audit_entry (id, chain_id, seq, at_utc, kind, actor, body, content_digest, hash)"
        " SELECT id, chain_id, seq, at_utc, kind, 'x', body, content_digest, hash FROM audit_entry",
    ],
)
def test_the_database_refuses_to_change_an_entry(statement):
    if "REPLACE" in statement and connection.vendor != "sqlite":
        pytest.skip("INSERT OR REPLACE is SQLite's own")
    _append(1)
    with pytest.raises(DatabaseError, match=r"cannot be|final"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Entry.objects.get().actor == "portal"


def test_verify_names_the_first_entry_that_was_changed_behind_the_triggers():
    for n in range(4):
        _append(n)
    row = Entry.objects.get(seq=3)
    row.body = {"n": 99}
    rows = [entry if entry.seq != 3 else row for entry in Entry.objects.order_by("seq")]


    with pytest.raises(LedgerBroken, match="entry 3"):
        verify_chain(((entry.sealed, entry.hash) for entry in rows), chain="run/x")


def test_a_childs_head_is_anchored_in_its_parent():
    last = _append(7)
    with transaction.atomic():
        entry = anchor(chain="run/x", into="project/p")
    assert entry.body == {"chain": "run/x", "seq": 1, "hash": last.hash}
    assert Chain.objects.get(name="run/x").parent_id == "project/p"
