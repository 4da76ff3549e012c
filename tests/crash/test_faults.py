"""Everything around a request goes wrong: cut, doubled, reordered, a full disk, a locked database, a wrong clock, random deaths."""

from __future__ import annotations

import datetime as dt
import resource
import signal
import socket
import sqlite3
import threading
import time

import httpx2
import numpy as np
import pytest

from clientagent.wire.canonical import canonical
from clientagent.wire.http import sign_request
from rounds.crashing import POINTS
from tests.crash.conftest import opened, refer
from tests.crash.echo import Echoing
from tests.crash.journeys import ends_undisturbed, is_open
from tests.crash.scratch import SLUGS, Scratch

UPDATES = "/api/v1/updates"


def finished_update(scratch: Scratch, run: str, slug: str) -> bytes:
    """The body that this bank is about to send."""
    agent = scratch.agent(slug)
    until = time.monotonic() + 20
    while not (statement := agent._outbox.get((run, 1, 1))):
        assert time.monotonic() < until
        time.sleep(0.02)
    head = canonical(statement)
    return len(head).to_bytes(4, "big") + head + agent._update_path(statement).read_bytes()


def signed(scratch: Scratch, slug: str, path: str, body: bytes, *, method: str = "POST", now: dt.datetime | None = None) -> dict:
    moment = now or dt.datetime.now(dt.UTC)
    key = scratch.home(slug).key
    return sign_request(method=method, url=f"{scratch.url}{path}", body=body, key=key, now=moment)


def held_open(scratch: Scratch) -> str:
    scratch.gate("send")
    run = scratch.propose(scratch.plan())
    scratch.wait(run, is_open)
    return run


# ------------------------------------------------------------------------- the way
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_update_cut_in_the_middle_leaves_no_trace_and_is_taken_whole_later(embedded, reset):
    run = held_open(embedded)
    body = finished_update(embedded, run, "south")
    headers = signed(embedded, "south", UPDATES, body) | {"Host": "portal", "Content-Length": str(len(body))}
    head = f"POST {UPDATES} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with socket.create_connection(("127.0.0.1", embedded.port)) as line:
        line.sendall(head.encode() + body[: len(body) // 2])
        if reset:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    httpx2.get(f"{embedded.url}/healthz")  # whatever the cut set off is over before another answer
    assert "update_refused" not in embedded.console("kinds", run)
    assert embedded.look(run)["phases"]["south"] != "received"
    embedded.release()
    ends_undisturbed(embedded, run)
    assert not list((embedded.data / "blobs" / "incoming").iterdir())
    embedded.check()


def test_requests_that_come_twice_and_out_of_order_get_the_same_receipts(embedded):
    silent = [agent.portal for agent in embedded.agents]
    for agent in embedded.agents:
        agent.portal = Echoing(agent.transport, agent.home, seed=len(agent.slug))
    run = embedded.propose(embedded.plan())
    ends_undisturbed(embedded, run)
    assert sum(agent.portal.echoes for agent in embedded.agents) >= 6 * len(SLUGS)
    embedded.rest()
    for agent, portal in zip(embedded.agents, silent, strict=True):
        agent.portal = portal
    kinds = embedded.console("kinds", run)
    assert kinds.count("update_accepted") == 2 * len(SLUGS)
    assert kinds.count("evaluation_received") == kinds.count("result_acknowledged") == len(SLUGS)
    embedded.check()


def test_an_agent_whose_clock_is_an_hour_off_is_told_by_how_much(embedded):
    now = dt.datetime.now(dt.UTC)
    for hours, skew in ((1, "+3600"), (-1, "-3600")):
        headers = signed(embedded, "north", "/api/v1/work", b"", method="GET", now=now + dt.timedelta(hours=hours))
        answer = httpx2.get(f"{embedded.url}/api/v1/work", headers=headers)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (401, "clock_skewed")
        assert any(f"{int(skew) + drift:+d} s" in problem["got"] for drift in range(-3, 4))
        assert "clock" in problem["action"].lower()


def test_a_portal_that_is_asked_to_end_does_not_wait_for_long_polls(embedded):
    run = held_open(embedded)
    began = time.monotonic()
    embedded.web.down(signal.SIGTERM)
    assert time.monotonic() - began < 10
    assert embedded.web.life.code == 0
    embedded.web.up()
    embedded.release()
    ends_undisturbed(embedded, run)
    embedded.check()


# ------------------------------------------------------------------- the disk, the base
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="a running process's limits can be set on Linux only")
def test_a_full_disk_stops_the_run_until_there_is_room(embedded):
    run = held_open(embedded)
    pid = embedded.web.life.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, hard))  # no file grows beyond: blobs and the database's log
    embedded.release()
    time.sleep(2)
    assert embedded.look(run)["rounds"] == [(1, 1, "open")]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    ends_undisturbed(embedded, run)
    embedded.check()


def test_a_round_whose_model_cannot_be_written_is_tried_again(embedded):
    """The store breaks after closing: the round stays, the portal stays up, and it goes on once the store is whole."""
    run = held_open(embedded)
    embedded.web.hold()
    embedded.arm("round:open:close:after")
    embedded.release()
    assert embedded.web.life.wait() < 0
    incoming = embedded.data / "blobs" / "incoming"
    incoming.rename(incoming.with_name("whole"))
    incoming.write_text("not a folder")
    embedded.web.up()
    embedded.wait_until_up()
    embedded.wait(run, lambda now: now["rounds"][-1][2] == "aggregating")
    time.sleep(3)
    assert embedded.look(run)["rounds"] == [(1, 1, "aggregating")]
    incoming.unlink()
    incoming.with_name("whole").rename(incoming)
    ends_undisturbed(embedded, run)
    embedded.check()


@pytest.mark.slow
def test_a_database_that_is_locked_for_longer_than_a_request_waits():
    """The portal gives up on a request after a second here, after twenty elsewhere; agents ask again."""
    with opened(settings={"DATABASE_URL": "sqlite:///{data}/db.sqlite3?timeout=1"}) as scratch:
        refer(scratch)
        run = held_open(scratch)
        line = sqlite3.connect(scratch.data / "db.sqlite3", isolation_level=None)
        line.execute("BEGIN IMMEDIATE")
        scratch.release()
        time.sleep(3)
        assert scratch.look(run)["rounds"] == [(1, 1, "open")]
        line.execute("ROLLBACK")
        line.close()
        ends_undisturbed(scratch, run)
        scratch.check()


# ---------------------------------------------------------------------- random instants
def dies_at_random(scratch: Scratch, seed: int) -> None:
    """Three deaths at instants that nobody chose."""
    rng, over = np.random.default_rng(seed), threading.Event()

    def kill() -> None:
        for _ in range(3):
            if over.wait(rng.exponential(0.5)):
                return
            scratch.services[rng.integers(len(scratch.services))].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        ends_undisturbed(scratch, scratch.propose(scratch.plan()))
    finally:
        over.set()
        killer.join()
    scratch.check()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_the_portal_dies_at_random_instants(embedded, seed):
    dies_at_random(embedded, seed)


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("seed", range(100, 108))
def test_web_and_worker_die_at_random_instants(split, seed):
    dies_at_random(split, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_an_async_run_outlives_random_deaths_and_every_version_is_what_its_manifest_says(embedded, seed):
    rng = np.random.default_rng(seed)
    embedded.arm(*rng.choice([p for p in POINTS if p.startswith(("round:", "answer", "update"))], 6, replace=False))
    run = embedded.propose(embedded.plan(mode="async", rounds=4, buffer=2))
    now = embedded.finish(run)
    embedded.disarm()
    assert len(now["versions"]) - 1 == 4 * len(SLUGS) / 2
    embedded.check_run(run)
    embedded.check()
