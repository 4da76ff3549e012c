"""The ledger heads that a bank remembers: history may grow, and nothing else."""

from __future__ import annotations

import pytest

from clientagent.home import Evidence
from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import LedgerBroken, SignatureInvalid
from clientagent.wire.messages import Head, HeadUpdate
from clientagent.wire.signing import PrivateKey, parse, sign_document
from clientagent.witness import Witness


@pytest.fixture
def witness(home, portal):
    for i in range(5):
        portal.record("round_opened", {"round": i})
    return Witness(home, portal.key.public)


def grow(portal, *kinds):
    for kind in kinds:
        portal.record(kind, {})


def test_the_first_head_is_accepted_and_kept(witness, home, portal):
    witness.check(portal.head(), None)
    assert witness.last(portal.chain).hash == portal.entries[-1][1]
    assert Witness(home, portal.key.public).last(portal.chain).seq == len(portal.entries)


def test_a_head_that_extends_the_last_one_is_accepted(witness, portal):
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    grow(portal, "round_closed", "version_published")
    witness.check(portal.head(known.seq), known)
    assert witness.last(portal.chain).seq == known.seq + 2


def test_links_from_the_beginning_prove_as_well(witness, portal):
    witness.check(portal.head(), None)
    grow(portal, "round_closed")
    witness.check(portal.head(0), None)
    assert witness.last(portal.chain).seq == len(portal.entries)


def rewrite(portal):
    """Change an early entry and seal everything anew: a chain that verifies, but another one."""
    old = [entry for entry, _ in portal.entries]
    portal.entries.clear()
    for entry in old:
        portal.record(entry.kind, {**entry.body, "quietly": "changed"} if entry.seq == 2 else entry.body)


@pytest.mark.parametrize("grown", [0, 3])
def test_a_rewritten_history_is_noticed_and_its_evidence_kept(witness, home, portal, grown):
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    rewrite(portal)
    grow(portal, *["round_closed"] * grown)
    with pytest.raises(LedgerBroken):
        witness.check(portal.head(0), known)
    (evidence,) = (home.path / "evidence").iterdir()
    kept = parse(Evidence, parse_json(evidence.read_bytes()))
    assert kept.shown.head.document["seq"] == len(portal.entries)
    assert kept.known.document["hash"] == known.hash
    assert Witness(home, portal.key.public).last(portal.chain) == known


def test_links_that_do_not_lead_to_the_head_are_noticed(witness, portal):
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    grow(portal, "round_closed", "version_published")
    update = portal.head(known.seq)
    with pytest.raises(LedgerBroken):
        witness.check(update.model_copy(update={"links": update.links[::-1]}), known)


def test_a_shorter_history_is_noticed(witness, portal):
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    del portal.entries[-2:]
    with pytest.raises(LedgerBroken, match="some are gone"):
        witness.check(portal.head(0), known)


def test_a_portal_that_was_restored_may_begin_anew_and_the_old_head_is_kept(witness, home, portal):
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    del portal.entries[-2:]
    portal.change = lambda document: document.model_copy(update={"epoch": 1})
    witness.check(portal.head(0), known)
    assert witness.last(portal.chain).seq == known.seq - 2
    assert len(list((home.path / "evidence").iterdir())) == 1
    portal.change = lambda document: document
    grow(portal, "round_closed")
    with pytest.raises(LedgerBroken, match="epoch 1"):
        witness.check(portal.head(0), None)


@pytest.mark.parametrize("links", [[], ["0" * 64]])
def test_a_head_without_its_links_is_no_answer_to_who_asked(witness, portal, links):
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    grow(portal, "round_closed", "version_published", "round_opened")
    with pytest.raises(LedgerBroken, match="links from entry"):
        witness.check(portal.head().model_copy(update={"since_seq": known.seq, "links": links}), known)


def test_a_head_that_proves_nothing_does_not_replace_the_known_one(witness, portal):
    """Asked about another chain, the portal cannot show the links; it will have to, once asked about this one."""
    witness.check(portal.head(), None)
    known = witness.last(portal.chain)
    rewrite(portal)
    grow(portal, "round_closed")
    witness.check(portal.head(len(portal.entries)), None)
    assert witness.last(portal.chain) == known


def test_a_head_signed_by_somebody_else_is_none(witness, portal):
    update = portal.head()
    forged = sign_document(parse(Head, update.head.document), PrivateKey.generate())
    with pytest.raises(SignatureInvalid):
        witness.check(update.model_copy(update={"head": forged}), None)
    assert witness.last(portal.chain) is None


def test_chains_do_not_mix(witness, home, portal):
    witness.check(portal.head(), None)
    other = portal.sign(Head(chain="project/retail", seq=0, hash="0" * 64, at_utc="2026-01-01T00:00:00Z"))
    witness.check(HeadUpdate(head=other, since_seq=0, links=[]), witness.last(portal.chain))
    assert witness.last(portal.chain).seq == len(portal.entries)
    assert {head.chain for head in home.heads()} == {portal.chain, "project/retail"}
