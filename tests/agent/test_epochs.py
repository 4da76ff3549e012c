"""A portal that was restored from a backup: its new orders count, its old ones do not, and nothing is repeated unnoticed."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from clientagent.orders import pin_work
from clientagent.runs import RunFolder
from clientagent.wire.errors import BaseMismatch
from clientagent.wire.messages import Head, WorkOrder
from clientagent.wire.signing import PrivateKey, sign_document
from tests.agent.given import one_bank_plan, run_agent

PORTAL = PrivateKey.generate()
RUN = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def terms(tmp_path):
    return SimpleNamespace(folder=RunFolder(tmp_path / RUN), plan=one_bank_plan())


def _pin(terms, *, base: str, epoch: int, attempt: int = 1):
    order = WorkOrder(
        kind="train", run=RUN, institution="north", manifest_digest="a" * 64, round=2, attempt=attempt, base_number=1,
        base_digest=base * 64, base_bytes=400, evaluate=False, deadline_utc="2099-01-01T00:00:00Z", epoch=epoch,
    )
    return pin_work(terms, sign_document(order, PORTAL), order)[0]


def test_one_round_has_one_base_within_an_epoch(terms):
    _pin(terms, base="b", epoch=0)
    for attempt in (1, 2):
        with pytest.raises(BaseMismatch):
            _pin(terms, base="c", epoch=0, attempt=attempt)


def test_a_later_epoch_may_begin_a_round_anew_and_the_old_work_is_kept_and_named(terms, caplog):
    first = _pin(terms, base="b", epoch=0)
    with caplog.at_level(logging.CRITICAL):
        second = _pin(terms, base="c", epoch=1)
    assert "set aside" in caplog.text
    assert second.path == first.path
    assert second.pinned.work.base_digest == "c" * 64
    (aside,) = terms.folder.path.glob("work/before-*")
    assert '"' + "b" * 64 + '"' in (aside / "order.json").read_text()
    assert [work.path for work in terms.folder.works()] == [second.path]


def test_the_same_work_in_a_later_epoch_is_the_work_that_is_there(terms):
    first = _pin(terms, base="b", epoch=0)
    again = _pin(terms, base="b", epoch=1)
    assert again.pinned == first.pinned


def test_the_first_epoch_cannot_take_back_what_the_second_began(terms):
    _pin(terms, base="c", epoch=1)
    with pytest.raises(BaseMismatch):
        _pin(terms, base="b", epoch=0)


def test_an_order_from_before_the_restore_is_not_done(serve, bank):
    portal = serve()
    old = []

    def change(document):
        if isinstance(document, Head):
            return document.model_copy(update={"epoch": 1})
        if isinstance(document, WorkOrder) and document.kind == "train":
            is_old = len(old) < 2
            old.append(document)
            return document.model_copy(update={"epoch": 0 if is_old else 1})
        return document.model_copy(update={"epoch": 1}) if isinstance(document, WorkOrder) else document

    portal.change = change
    run_agent(bank(portal))
    assert portal.stage == "done"
    assert len(old) > 2
