"""Browsers' sockets: who may watch, what is pushed, and that a reconnected page shows what a reload would."""

from __future__ import annotations

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from institutions.models import Membership
from rounds import consumers, live
from rounds.drawing import PARTS, parts_of
from rounds.models import Participation
from rounds.selectors.reading import read
from rounds.selectors.scope import audience_of
from rounds.selectors.snapshot import snapshot
from tests.web.banks import figures_of
from tests.web.watcher import Watcher

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio]


def reloaded(user, run) -> dict[str, str]:
    return {name: str(html) for name, html in parts_of(snapshot(run.pk, audience_of(user))).items()}


async def test_the_first_push_is_the_whole_page(running, admin) -> None:
    socket = Watcher(admin, running.run)
    assert await socket.connect() is None
    first = await socket.next_drawing()
    assert list(first["html"]) == list(PARTS)
    assert set(first["charts"]["figures"]) == {"auc", "ks", "loss", "bytes", "durations"}
    await socket.leave()


async def test_later_pushes_carry_only_what_changed(running, admin, south) -> None:
    socket = Watcher(admin, running.run)
    await socket.connect()
    await socket.next_drawing()
    rows = Participation.objects.filter(round__run=running.run, round__state="open", institution=south.institution)
    await sync_to_async(rows.update)(phase="training", epoch=1, epochs=1, batch=37, batches=100)
    live.announce(running.run.pk)
    second = await socket.next_drawing()
    banks = second["lists"]["grid.banks"]
    assert list(banks) == ["items"], "the same banks in the same order"
    assert list(banks["items"]) == ["bank-south"]
    assert "37" in banks["items"]["bank-south"]
    assert not {"events", "ribbon", "notice", "grid"} & set(second["html"])
    assert set(second["lists"]) == {"grid.banks"}
    assert "charts" not in second
    assert second["seq"] == 2
    await socket.leave()


async def test_a_new_entry_is_pushed_alone_with_the_order_of_all(running, admin) -> None:
    socket = Watcher(admin, running.run)
    await socket.connect()
    before = (await socket.next_drawing())["html"]["events"]
    await sync_to_async(running.banks[1].train)(running.run, seed=5)
    live.announce(running.run.pk)
    while "events.lines" not in (message := await socket.next_drawing())["lists"]:
        pass
    events = message["lists"]["events.lines"]
    assert all(f'id="{element}"' not in before for element in events["items"])
    assert events["order"][: len(events["items"])] == list(events["items"]), "newest first"
    assert len(json.dumps(events["items"])) < 0.5 * len(before)
    await socket.leave()


async def test_one_reading_serves_all_who_look_at_the_same_round(running, admin, north, monkeypatch) -> None:
    readings = []
    monkeypatch.setattr(consumers, "read", lambda *scene: readings.append(scene) or read(*scene))
    sockets = [Watcher(admin, running.run, "lang=en"), Watcher(admin, running.run, "lang=zh-hans"), Watcher(north.operator, running.run)]
    for socket in sockets:
        await socket.connect()
        await socket.next_drawing()
    readings.clear()
    await sync_to_async(running.banks[1].train)(running.run, seed=5)
    live.announce(running.run.pk)
    for socket in sockets:
        await socket.next_drawing()
    assert len(readings) <= 2, "one for the hint, perhaps one for the update's own"
    for socket in sockets:
        await socket.leave()


async def test_a_browser_that_comes_back_sees_what_a_reload_shows(running, admin, south) -> None:
    socket = Watcher(admin, running.run)
    await socket.connect()
    await socket.next_drawing()
    await socket.leave()
    await sync_to_async(running.banks[1].train)(running.run, seed=5)
    again = Watcher(admin, running.run)
    await again.connect()
    page = (await again.next_drawing())["html"]
    fresh = await sync_to_async(reloaded)(admin, running.run)
    assert {name: page[name] for name in PARTS if name != "facts"} == {name: fresh[name] for name in PARTS if name != "facts"}
    assert "2" in page["facts"]
    await again.leave()


async def test_an_operators_socket_never_carries_another_banks_figures(running, north) -> None:
    socket = Watcher(north.operator, running.run)
    await socket.connect()
    text = json.dumps(await socket.next_drawing())
    assert figures_of("north", 1)[0].rstrip("0") in text
    assert not any(figure.rstrip("0") in text for slug in ("south", "east") for figure in figures_of(slug, 1))
    await socket.leave()


async def test_people_in_one_audience_share_one_drawing_and_audiences_never_mix(running, admin, north, south) -> None:
    sockets = [Watcher(user, running.run) for user in (admin, admin, north.operator, south.operator)]
    for socket in sockets:
        await socket.connect()
        await socket.next_drawing()
    assert [len(channel.latest) for channel in consumers.Channel.open.values()] == [3]
    for socket in sockets:
        await socket.leave()
    assert consumers.Channel.open == {}


async def test_looking_back_shows_the_round_and_following_returns(running, admin) -> None:
    socket = Watcher(admin, running.run)
    await socket.connect()
    await socket.next_drawing()
    await socket.say(json.dumps({"round": "1"}))
    assert 'data-viewed="1" data-past="yes"' in (await socket.next_drawing())["html"]["state"]
    await socket.say(json.dumps({"round": ""}))
    assert 'data-viewed="3" data-past=""' in (await socket.next_drawing())["html"]["state"]
    await socket.leave()


@pytest.mark.parametrize("said", ["not json", "[]", '{"round": {"a": 1}}', '{"other": 1}', '{"round": "99999999999999"}'])
async def test_nonsense_from_a_browser_changes_nothing(said, running, admin) -> None:
    socket = Watcher(admin, running.run)
    await socket.connect()
    await socket.next_drawing()
    await socket.say(said)
    await socket.say(json.dumps({"round": "2"}))
    assert 'data-viewed="2"' in (await socket.next_drawing())["html"]["state"]
    await socket.leave()


async def test_a_stranger_and_an_outsider_are_turned_away(running, outsider) -> None:
    for user in (AnonymousUser(), outsider.operator):
        assert await Watcher(user, running.run).connect() == consumers.FORBIDDEN


async def test_a_seat_that_is_taken_away_ends_the_watching(running, admin, auditor, monkeypatch) -> None:
    monkeypatch.setattr(consumers, "RECHECK_S", 0.2)
    socket = Watcher(auditor, running.run)
    await socket.connect()
    await socket.next_drawing()
    await sync_to_async(Membership.objects.filter(user=auditor).delete)()
    async with asyncio.timeout(10):
        while (message := await socket.next_output())["type"] != "websocket.close":
            pass
    assert message["code"] == consumers.FORBIDDEN


async def test_the_socket_speaks_the_pages_language(running, admin) -> None:
    socket = Watcher(admin, running.run, "lang=zh-hans")
    await socket.connect()
    page = (await socket.next_drawing())["html"]
    client = Client()
    await sync_to_async(client.force_login)(admin)
    client.cookies["fedportal_language"] = "zh-hans"
    whole = (await sync_to_async(client.get)(f"/runs/{running.run.pk}/")).content.decode()
    assert page["grid"] in whole
    await socket.leave()
