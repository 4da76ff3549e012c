"""An update in parts: idempotent, resumable, checked as a whole."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.wire.canonical import canonical
from clientagent.wire.errors import NotFound, Truncated
from clientagent.wire.messages import UploadComplete, UploadRequest
from rounds import services
from rounds.clock import now
from rounds.models import Round, Update, Upload
from rounds.services.uploads import _write_beside
from rounds.storage import blobs, parts
from tests.rounds.scripted import API, ScriptedBank, make_federation

pytestmark = pytest.mark.django_db
PART = 1024


@pytest.fixture
def wide(north, south, east, admin):
    """A plan whose update is several parts of the smallest size."""
    federation = make_federation([north, south, east], admin, model={"family": "mlp", "hidden": [64, 32]})
    federation.begin()
    return federation


def _open(bank: ScriptedBank, statement) -> dict:
    answer = bank.bank.post(f"{API}/uploads", canonical(UploadRequest(manifest=statement, part_bytes=PART)))
    assert answer.status_code == 200, answer.content
    return answer.json()


def _part(bank: ScriptedBank, state: dict, n: int, data: bytes):
    piece = data[n * PART : (n + 1) * PART]
    path = f"{API}/uploads/{state['id']}/parts/{n}"
    return bank.bank.call("PUT", path, piece, content_type="application/octet-stream")


def _complete(bank: ScriptedBank, state: dict, digest: str):
    return bank.bank.post(f"{API}/uploads/{state['id']}/complete", canonical(UploadComplete(update_digest=digest)))


def test_parts_in_any_order_and_twice_make_one_update(wide):
    bank = wide.banks[0]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, 1))
    state = _open(bank, statement)
    assert state["parts"] == -(-len(data) // PART) > 2
    for n in [*reversed(range(state["parts"])), 0]:
        assert _part(bank, state, n, data).status_code == 200
    answer = _complete(bank, state, statement.document["update_digest"])
    assert answer.status_code == 200, answer.content
    assert Update.objects.get().digest == statement.document["update_digest"]
    assert _complete(bank, state, statement.document["update_digest"]).json()["receipt"] == answer.json()["receipt"]
    assert not (parts.path_of(state["id"])).exists()


def test_a_session_is_taken_up_where_it_stopped(wide):
    bank = wide.banks[0]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, 1))
    state = _open(bank, statement)
    _part(bank, state, 1, data)
    again = _open(bank, statement)
    assert (again["id"], again["received"]) == (state["id"], [1])
    assert Upload.objects.count() == 1


def test_missing_parts_are_named(wide):
    bank = wide.banks[0]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, 1))
    state = _open(bank, statement)
    _part(bank, state, 0, data)
    answer = _complete(bank, state, statement.document["update_digest"])
    assert answer.status_code == 400
    assert "missing 1" in answer.json()["got"]


def test_other_bytes_under_the_same_number_conflict(wide):
    bank = wide.banks[0]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, 1))
    state = _open(bank, statement)
    _part(bank, state, 0, data)
    answer = _part(bank, state, 0, bytes(len(data)))
    assert (answer.status_code, answer.json()["code"]) == (409, "update_conflict")


def test_a_part_of_another_size_or_number_is_refused(wide):
    bank = wide.banks[0]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, 1))
    state = _open(bank, statement)
    assert _part(bank, state, 0, data[: PART // 2]).json()["code"] == "truncated"
    assert _part(bank, state, state["parts"], data).json()["code"] == "malformed"


def test_another_bank_cannot_touch_the_session(wide):
    bank, other = wide.banks[:2]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, 1))
    state = _open(bank, statement)
    assert _part(other, state, 0, data).status_code == 404


def _sent(wide) -> tuple[ScriptedBank, object, bytes, dict]:
    """A session with all its parts, of an update that no other test has sent."""
    bank = wide.banks[0]
    statement, data = bank.update(wide.run, bank.work(), bank.difference(wide.run, random.getrandbits(32)))
    state = _open(bank, statement)
    for n in range(state["parts"]):
        assert _part(bank, state, n, data).status_code == 200
    return bank, statement, data, state


def _damage_second(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(PART)
        file.write(b"x" * PART)


@pytest.mark.parametrize(("damage", "lost"), [
    (Path.unlink, lambda n: True), (_damage_second, lambda n: n == 1), (lambda path: os.truncate(path, PART), lambda n: n > 0),
])
def test_parts_that_were_lost_or_damaged_on_disk_are_asked_for_again(wide, damage, lost):
    bank, statement, data, state = _sent(wide)
    damage(parts.path_of(state["id"]))
    answer = _complete(bank, state, statement.document["update_digest"])
    assert (answer.status_code, answer.json()["code"]) == (400, "truncated")
    missing = [n for n in range(state["parts"]) if lost(n)]
    assert _open(bank, statement)["received"] == [n for n in range(state["parts"]) if n not in missing]
    for n in missing:
        assert _part(bank, state, n, data).status_code == 200
    assert _complete(bank, state, statement.document["update_digest"]).status_code == 200


def test_bytes_that_come_once_an_update_was_checked_cannot_change_it(wide):
    bank, statement, data, state = _sent(wide)
    with parts.writing(state["id"], 0) as slow:
        answer = _complete(bank, state, statement.document["update_digest"])
        with pytest.raises(NotFound):
            slow.write([b"x" * PART])
    assert answer.status_code == 200
    assert blobs.path_of(statement.document["update_digest"]).read_bytes() == data


def test_an_update_that_was_moved_before_a_death_is_accepted_by_the_next_request(wide):
    bank, statement, data, state = _sent(wide)
    digest = statement.document["update_digest"]
    blobs.adopt(parts.path_of(state["id"]))
    assert _complete(bank, state, digest).status_code == 200
    assert blobs.path_of(digest).read_bytes() == data


def test_a_part_that_comes_after_completion_changes_nothing_and_leaves_nothing(wide):
    bank, statement, data, state = _sent(wide)
    first = _complete(bank, state, statement.document["update_digest"]).json()["receipt"]
    assert _part(bank, state, 0, data).status_code == 200
    assert not (parts.path_of(state["id"])).exists()
    assert _complete(bank, state, statement.document["update_digest"]).json()["receipt"] == first


def test_parts_that_nobody_can_complete_any_more_are_forgotten_and_may_come_again(wide):
    _, _, _, state = _sent(wide)
    folder = parts.path_of(state["id"])
    later = now() + timedelta(days=2)
    services.collect(moment=later)
    assert folder.exists()
    Round.objects.update(state="abandoned")
    services.collect(moment=later)
    assert not folder.exists()
    assert not Upload.objects.get(pk=state["id"]).parts.exists()


class Recorded:
    """A writer's place that is slow, and says when it wrote what."""

    def __init__(self, broken_after: int = 99) -> None:
        self.events: list[str] = []
        self.data, self._left = b"", broken_after

    def write(self, pieces) -> None:
        self.events.append("begins")
        threading.Event().wait(0.01)
        if not self._left:
            raise NotFound(expected="an upload that is under way", got="one that is over")
        self._left -= 1
        self.data += b"".join(pieces)
        self.events.append("ends")


async def _network(sizes):
    for i, size in enumerate(sizes):
        yield bytes([i % 256]) * size


@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 1000, 300_000, 700_000]), max_size=9))
def test_batches_are_written_in_order_and_one_at_a_time(sizes):
    place = Recorded()
    asyncio.run(_write_beside(place, _network(sizes), size=sum(sizes), number=0))
    assert place.data == b"".join(bytes([i % 256]) * size for i, size in enumerate(sizes))
    assert place.events == ["begins", "ends"] * (len(place.events) // 2)


@pytest.mark.parametrize(("size", "broken_after", "refusal"), [(2 * parts.BATCH, 99, Truncated), (9 * parts.BATCH, 1, NotFound)])
def test_nothing_writes_any_more_when_a_part_is_refused(size, broken_after, refusal):
    place = Recorded(broken_after)
    with pytest.raises(refusal):
        asyncio.run(_write_beside(place, _network([parts.BATCH] * 4), size=size, number=0))
    assert place.events.count("ends") == min(2, broken_after)
    assert place.events.count("begins") == 2
