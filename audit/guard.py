"""The database itself refuses to change or delete a ledger entry: triggers for SQLite and PostgreSQL.

An owner of the tables can still drop triggers; that is why heads are signed, handed to every agent and kept there.
"""

from __future__ import annotations

from typing import Any

_SQLITE = [
    """CREATE TRIGGER audit_entry_no_update BEFORE UPDATE ON audit_entry
       BEGIN SELECT RAISE(ABORT, 'ledger entries cannot be changed'); END""",
    """CREATE TRIGGER audit_entry_no_delete BEFORE DELETE ON audit_entry
       BEGIN SELECT RAISE(ABORT, 'ledger entries cannot be deleted'); END""",
    # INSERT OR REPLACE would bypass the delete trigger
    """CREATE TRIGGER audit_entry_no_replace BEFORE INSERT ON audit_entry
       WHEN EXISTS (SELECT 1 FROM audit_entry WHERE chain_id = NEW.chain_id AND seq = NEW.seq)
       BEGIN SELECT RAISE(ABORT, 'ledger entries cannot be replaced'); END""",
]
_POSTGRES = [
    """CREATE OR REPLACE FUNCTION audit_entry_is_final() RETURNS trigger AS $$
       BEGIN RAISE EXCEPTION 'ledger entries cannot be changed or deleted'; END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER audit_entry_no_change BEFORE UPDATE OR DELETE ON audit_entry
       FOR EACH ROW EXECUTE FUNCTION audit_entry_is_final()""",
    """CREATE TRIGGER audit_entry_no_truncate BEFORE TRUNCATE ON audit_entry
       FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_final()""",
]
_NAMES = {
    "sqlite": ["audit_entry_no_update", "audit_entry_no_delete", "audit_entry_no_replace"],
    "postgresql": ["audit_entry_no_change", "audit_entry_no_truncate"],
}


def install(connection: Any) -> None:
    """Create the triggers on this database."""
    with connection.cursor() as cursor:
        for statement in _SQLITE if connection.vendor == "sqlite" else _POSTGRES:
            cursor.execute(statement)


def remove(connection: Any) -> None:
    """Drop the triggers: only for reversing the migration and for emptying a test database."""
    table = "" if connection.vendor == "sqlite" else " ON audit_entry"
    with connection.cursor() as cursor:
        for name in _NAMES[connection.vendor]:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}{table}")
