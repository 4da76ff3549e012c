"""Whoever changes, drops, swaps or adds an entry is found, and the first bad entry is named."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.errors import LedgerBroken, Malformed
from clientagent.wire.ledger import GENESIS, Entry, extend, seal, verify_chain
from clientagent.wire.signing import parse

CHAIN = "run/6f1c"
NEWLINE = b"\n"


def an_entry(seq: int, **changes) -> Entry:
    fields = {
        "chain": CHAIN, "seq": seq, "at_utc": f"2026-11-23T14:00:{seq:02d}Z", "kind": "update_accepted",
        "actor": f"agent:{seq}",
        "body": {"rows": seq * 100, "bank": "north", "norm": 0.5, "nested": {"a": [1, None, "é"]}},
    }
    return Entry(**(fields | changes))


def a_chain(length: int = 4) -> list[tuple[Entry, str]]:
    rows, previous = [], GENESIS
    for seq in range(1, length + 1):
        entry = an_entry(seq)
        previous = seal(previous, entry.content_digest)
        rows.append((entry, previous))
    return rows


def test_an_empty_chain_stands_at_genesis():
    assert verify_chain([], chain=CHAIN) == GENESIS


def test_a_true_chain_leads_to_its_head():
    rows = a_chain()
    assert verify_chain(rows, chain=CHAIN) == rows[-1][1]


def test_the_first_hash_is_golden():
    expected = hashlib.sha256(b"fedportal-ledger-1\n" + b"0" * 64 + b"\n" + b"a" * 64).hexdigest()
    assert seal(GENESIS, "a" * 64) == expected == "cc0feaf55d97226e698d1b438f33ea30e1ed6f22d490c7c3e871fbbb8cb844dd"


def test_content_digests_alone_prove_that_one_head_extends_another():
    rows = a_chain(6)
    links = [entry.content_digest for entry, _ in rows]
    assert extend(rows[1][1], links[2:]) == rows[-1][1]
    assert extend(GENESIS, links) == rows[-1][1]
    assert extend(rows[1][1], links[3:]) != rows[-1][1]


def as_lines(rows: list[tuple[Entry, str]]) -> bytes:
    return b"\n".join(json.dumps([entry.model_dump(), stored]).encode() for entry, stored in rows)


def read_lines(data: bytes) -> list[tuple[Entry, str]]:
    return [(parse(Entry, document), stored) for document, stored in map(json.loads, data.split(b"\n"))]


def test_a_written_chain_reads_back():
    rows = a_chain()
    assert verify_chain(read_lines(as_lines(rows)), chain=CHAIN) == rows[-1][1]


@given(st.data())
@settings(max_examples=300)
def test_every_single_byte_change_is_found(data):
    original = as_lines(a_chain())
    where = data.draw(st.integers(0, len(original) - 1))
    changed = original[:where] + bytes([data.draw(st.integers(0, 255))]) + original[where + 1 :]
    try:
        rows = read_lines(changed)
    except (ValueError, TypeError, Malformed):
        return  # no longer a chain at all
    if rows == a_chain():
        return  # a change of spelling: a tab for a space
    with pytest.raises(LedgerBroken, match=rf"entry {original[:where].count(NEWLINE) + 1}\b"):
        verify_chain(rows, chain=CHAIN)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize(
    "change",
    [
        {"actor": "agent:9"}, {"kind": "update_refused"}, {"at_utc": "2026-11-23T15:00:00Z"}, {"body": {}},
        {"body": {"rows": 1}},
    ],
)
def test_a_changed_entry_is_named(position, change):
    rows = a_chain()
    rows[position] = (rows[position][0].model_copy(update=change), rows[position][1])
    with pytest.raises(LedgerBroken, match=f"entry {position + 1}"):
        verify_chain(rows, chain=CHAIN)


def test_a_changed_entry_with_its_hash_made_anew_breaks_the_next():
    rows = a_chain()
    forged = an_entry(2, actor="agent:9")
    rows[1] = (forged, seal(rows[0][1], forged.content_digest))
    with pytest.raises(LedgerBroken, match="entry 3"):
        verify_chain(rows, chain=CHAIN)


@pytest.mark.parametrize(("rows", "named"), [
    (a_chain()[1:], 1), (a_chain()[:1] + a_chain()[2:], 2), ([a_chain()[0], a_chain()[0]], 2),
    ([a_chain()[1], a_chain()[0]], 1), ([a_chain()[0], a_chain()[2], a_chain()[1]], 2),
])
def test_a_dropped_doubled_or_swapped_entry_is_named(rows, named):
    with pytest.raises(LedgerBroken, match=f"entry {named} "):
        verify_chain(rows, chain=CHAIN)


def test_an_entry_of_another_chain_is_named():
    with pytest.raises(LedgerBroken, match="entry 1 of run/other"):
        verify_chain(a_chain(), chain="run/other")


def test_a_dropped_tail_shows_in_the_head():
    rows = a_chain()
    assert verify_chain(rows[:-1], chain=CHAIN) != rows[-1][1]


def test_an_entry_that_cannot_be_hashed_is_named():
    rows = a_chain()
    rows[2] = (rows[2][0].model_copy(update={"body": {"norm": float("inf")}}), rows[2][1])
    with pytest.raises(LedgerBroken, match="entry 3"):
        verify_chain(rows, chain=CHAIN)
