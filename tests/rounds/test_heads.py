"""The signed head in each answer: an agent can check that history only grows."""

from __future__ import annotations

import pytest

from clientagent.wire.ledger import GENESIS, extend
from clientagent.wire.messages import Head
from clientagent.wire.signing import open_signed
from institutions.portal_key import portal_key
from rounds.exports.downloads import history, history_csv
from tests.rounds.scripted import API

pytestmark = pytest.mark.django_db


def _head(bank) -> tuple[dict, Head]:
    update = bank.bank.get(f"{API}/work").json()["head"]
    return update, open_signed(update["head"], portal_key().public, Head)


def test_the_first_head_comes_with_all_links(running):
    bank = running.banks[0]
    update, head = _head(bank)
    assert update["since_seq"] == 0
    assert extend(GENESIS, update["links"]) == head.hash


def test_the_next_head_comes_with_the_links_since_the_one_that_was_seen(running):
    bank = running.banks[0]
    _, seen = _head(bank)
    running.banks[1].train(running.run)
    bank.bank.seen = f"{seen.chain};{seen.seq};{seen.hash}"
    update, head = _head(bank)
    assert update["since_seq"] == seen.seq < head.seq
    assert extend(seen.hash, update["links"]) == head.hash


ZEROS = "0" * 64


@pytest.mark.parametrize("seen", ["x", f"run/x;1;{ZEROS}", f"{{chain}};1;{ZEROS}", f"{{chain}};99999;{ZEROS}", "{chain};-1;x"])
def test_a_head_that_is_not_on_the_chain_is_answered_from_the_beginning(running, seen):
    bank = running.banks[0]
    bank.bank.seen = seen.format(chain=running.run.chain)
    update, _ = _head(bank)
    assert update["since_seq"] == 0


def test_the_exported_history_ends_in_its_signed_head(running):
    run = running.finish()
    file = history(run)
    head = open_signed(file["head"], portal_key().public, Head)
    assert head.hash == file["entries"][-1]["hash"]
    assert head.seq == len(file["entries"])
    lines = history_csv(run).splitlines()
    assert len(lines) == len(file["entries"]) + 1


def test_a_bank_reads_the_history_of_its_own_runs_only(running, outsider):
    path = f"{API}/runs/{running.run.pk}/history"
    assert running.banks[0].bank.get(path).status_code == 200
    assert outsider.get(path).status_code == 404
