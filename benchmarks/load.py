"""The load of ``benchmarks.waiting`` from one process: waiting agents, sending banks and watching browsers, all real requests.

``python -m benchmarks.load CAST.json OUT.json``. CAST: {"url", "run", "plan", "idle": [agent], "banks": [agent],
"sessions": [[path, cookie]], "seconds", "per_second"}; an agent is {"slug", "agent_id", "pem"}. It says ``prepared``, ``waiting``
and ``done`` on standard output and goes on when it is told to, a line each. OUT: for each socket [time (s since 1970), seq], whenever
its screen showed a newer entry of the run's ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import connect

from clientagent.wire import messages
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.http import sign_request
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.signing import Document, PrivateKey, Signed, parse, sign_document
from clientagent.wire.tensors import pack
from clientagent.wire.weights import layout_of

WAIT_S = 25
AT_ONCE = 40
"""Connections that are being opened at the same time."""
INSTANT = "2026-01-01T00:00:00Z"
ROWS = 100
EVENT = re.compile(r'id=\\"event-(\d+)')
UPDATE = "application/vnd.fedportal.update"


class Agent:
    """One agent's connection: signed requests, one at a time."""

    def __init__(self, url: str, who: dict[str, str]) -> None:
        address = urlsplit(url)
        self._host, self._port, self._url = address.hostname, address.port, url
        self.slug, self.agent_id, self.key = who["slug"], who["agent_id"], PrivateKey.from_pem(who["pem"].encode())

    async def open(self) -> None:
        self._in, self._out = await asyncio.open_connection(self._host, self._port)

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> Any:
        """The answer's JSON, None for 204. Raises ``RuntimeError`` for a refusal."""
        if self._in.at_eof():  # the portal lets go of a connection that says nothing for some seconds
            self._out.close()
            await self.open()
        path = f"/api/v1/{path}"
        signed = sign_request(method=method, url=self._url + path, body=body, key=self.key, now=dt.datetime.now(dt.UTC))
        headers = {"Host": f"{self._host}:{self._port}", "Content-Type": kind, "Content-Length": str(len(body)), **signed}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._out.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        answer = (await self._in.readuntil(b"\r\n\r\n")).decode().lower()
        length = re.search(r"content-length: (\d+)", answer)
        data = await self._in.readexactly(int(length[1])) if length else b""
        status = int(answer.split(" ", 2)[1])
        if status >= 300:
            raise RuntimeError(f"{method} {path}: HTTP {status}: {data[:300].decode(errors='replace')}")
        return json.loads(data) if data else None

    async def state(self, path: str, document: Document) -> Any:
        return await self.ask("POST", path, canonical(sign_document(document, self.key)))

    async def wait(self, began: Callable[[], None]) -> None:
        """Long polls, for ever; there is never work for this one."""
        while True:
            began()
            await self.ask("GET", f"work?wait={WAIT_S}")


class Bank(Agent):
    """An agent that takes part in the run and sends made-up numbers."""

    order: messages.WorkOrder | None = None
    plan: Plan
    inputs: int

    async def join(self, document: dict[str, Any], run: str) -> None:
        """Approve the plan and report statistics, as soon as each is asked for; then hold the first order."""
        self.plan = parse_plan(document)
        while self.order is None:
            answer = await self.ask("GET", "work?wait=5")
            kind = answer["order"]["document"]["type"] if answer else ""
            if kind == "plan_notice":
                await self.state(f"plans/{self.plan.hash}/decisions", messages.Decision(
                    plan_hash=self.plan.hash, institution=self.slug, decision="approved", by="policy", reason="", at_utc=INSTANT
                ))  # fmt: skip
            elif kind == "statistics_order":
                await self.state("statistics", self._statistics(run))
            elif kind == "work_order":
                self.inputs = (await self.ask("GET", f"runs/{run}/manifest"))["manifest"]["document"]["inputs"]
                self._take(answer)

    def _statistics(self, run: str) -> messages.StatisticsReport:
        return messages.StatisticsReport(
            run=run, plan_hash=self.plan.hash, institution=self.slug, rows=ROWS, validation_rows=20, holdout_rows=20,
            data_digest="0" * 64, categorical=[],
            numeric=[
                messages.NumericStatistics(name=feature.name, count=ROWS, mean=0.0, m2=float(ROWS), missing=0)
                for feature in self.plan.features
            ],
        )

    def _take(self, answer: Any) -> None:
        self.order = parse(messages.WorkOrder, Signed.model_validate(answer["order"]).document) if answer else None

    async def send(self) -> None:
        """One update, and the next order with its receipt or soon after."""
        if self.order is None:
            self._take(await self.ask("GET", "work?wait=2"))
        if self.order is None:
            return
        manifest, data = self._update(self.order)
        head = canonical(manifest)
        self.order = None
        self._take((await self.ask("POST", "updates", len(head).to_bytes(4, "big") + head + data, UPDATE)).get("next"))

    def _update(self, order: messages.WorkOrder) -> tuple[Signed, bytes]:
        layout = layout_of(self.plan, self.inputs)
        data = pack(np.random.default_rng().normal(size=layout.parameters).astype(np.float32), layout)
        return sign_document(messages.UpdateManifest(
            run=order.run, manifest_digest=order.manifest_digest, round=order.round, attempt=order.attempt,
            base_number=order.base_number, base_digest=order.base_digest, institution=self.slug, agent_id=self.agent_id,
            update_digest=sha256_hex(data), update_bytes=len(data), plain_bytes=len(data), rows=ROWS, norm=1.0, steps=1,
            train_loss=0.5, training_s=0.1, environment=messages.Environment(agent_version="1", python="3", numpy="2"),
        ), self.key), data  # fmt: skip


class Screen:
    """One browser's socket. ``shown``: (time, the newest ledger entry on it), whenever that was news."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, int]] = []
        self.has_drawn = asyncio.Event()

    async def watch(self, url: str, path: str, cookie: str) -> None:
        headers = {"Cookie": cookie, "Origin": url}
        async with connect(url.replace("http", "ws", 1) + path, additional_headers=headers, compression=None, max_size=None) as socket:
            async for text in socket:
                moment = time.time()
                self.has_drawn.set()
                newest = max(map(int, EVENT.findall(str(text))), default=0)
                if newest > (self.shown[-1][1] if self.shown else 0):
                    self.shown.append((moment, newest))


async def load(cast: dict[str, Any]) -> list[list[tuple[float, int]]]:
    async with contextlib.AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        banks = [Bank(cast["url"], who) for who in cast["banks"]]
        await _each([bank.open for bank in banks])
        await asyncio.gather(*(bank.join(cast["plan"], cast["run"]) for bank in banks))
        await _told("prepared")
        going = await _wait_all(cast, tasks)
        await _told("waiting")
        screens = [Screen() for _ in cast["sessions"]]
        for screen, (path, cookie) in zip(screens, cast["sessions"], strict=True):
            going.append(tasks.create_task(screen.watch(cast["url"], path, cookie)))
        await asyncio.gather(*(screen.has_drawn.wait() for screen in screens))
        await asyncio.gather(*(_send_on(bank, i, cast) for i, bank in enumerate(banks)))
        await asyncio.sleep(2)
        for task in going:
            task.cancel()
    return [screen.shown for screen in screens]


async def _wait_all(cast: dict[str, Any], tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
    idle, asking = [Agent(cast["url"], who) for who in cast["idle"]], 0

    def began() -> None:
        nonlocal asking
        asking += 1

    await _each([agent.open for agent in idle])
    going = [tasks.create_task(agent.wait(began)) for agent in idle]
    while asking < len(idle):
        await asyncio.sleep(0.1)
    await asyncio.sleep(5)  # until the portal has read, verified and parked them all
    return going


async def _send_on(bank: Bank, place: int, cast: dict[str, Any]) -> None:
    """An update at each of this bank's turns; one that is late for a turn sends at once."""
    every = len(cast["banks"]) / cast["per_second"]
    start = time.monotonic() + place / cast["per_second"]
    for turn in range(int(cast["seconds"] / every)):
        await asyncio.sleep(max(0.0, start + turn * every - time.monotonic()))
        await bank.send()


async def _each(works: list[Callable[[], Awaitable[None]]]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(work: Callable[[], Awaitable[None]]) -> None:
        async with gate:
            await work()

    await asyncio.gather(*map(one, works))


async def _told(word: str) -> None:
    print(word, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(load(json.loads(Path(sys.argv[1]).read_text())))))
    print("done", flush=True)
