"""A whole federation to kill: a portal that is started again when it dies, light agents, an administrator's browser.

The portal is ``serve`` alone (web and worker in one process, SQLite) or, with Redis, a web process and a Celery worker.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from clientagent.home import Home
from rounds.crashing import POINTS
from rounds.rehearsal.processes import environment
from tests.crash.light import LightAgent, receipts_of
from tests.crash.processes import ROOT, Console, Nursery, Supervised
from tests.services import free_port

SLUGS = ("east", "north", "south")
WAIT_S = 60.0
FEATURES = [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical"}]
PLAIN: dict[str, Any] = {"model": {"family": "logistic", "hidden": []}}
IN_PARTS: dict[str, Any] = {"model": {"family": "mlp", "hidden": [32, 16]}}
MASKED: dict[str, Any] = {**PLAIN, "privacy": {"secure_aggregation": {"threshold": 0.67, "min_cohort": 3}}}
CSRF = "c" * 32


class Scratch:
    def __init__(self, folder: Path, *, database: str = "", redis: str = "", settings: dict[str, str] | None = None) -> None:
        self.folder, self.data, self.port = folder, folder / "data", free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.data / "crashed").mkdir(parents=True)
        for point in POINTS:
            self.mark(point).touch()
        extra = {"DATABASE_URL": database, "REDIS_URL": redis, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        extra |= settings or {}
        env = environment(self.data) | {name: value.format(data=self.data) for name, value in extra.items() if value}
        crashing = {"FEDPORTAL_CRASH": ",".join(POINTS)}
        self.nursery = Nursery(folder, env)
        serve = ("manage", "serve", "--port", str(self.port), *(["--no-worker"] if redis else []))
        self.web = Supervised(self.nursery, "web", serve, crashing)
        self.worker = Supervised(self.nursery, "worker", ("worker", "-B", "-P", "threads", "-c", "4", "-l", "WARNING"), crashing)
        self.engine = self.worker if redis else self.web
        self.services = [self.web, self.worker] if redis else [self.web]
        self.agents = [LightAgent(self.home(slug), slug, rows) for slug, rows in zip(SLUGS, (100, 200, 300), strict=True)]
        self.references: dict[str, str] = {}
        self.tolerated: set[str] = set()
        self._serial = itertools.count(1)

    # ------------------------------------------------------------- beginning and end
    def open(self) -> None:
        for service in self.services:
            service.up()
        self.wait_until_up()
        self.console = Console(self.nursery)
        codes = self.console("found", list(SLUGS))
        for agent in self.agents:
            self.console("approve", *agent.enrol(self.address_for(agent), codes[agent.slug]))
        name, value = self.console("session")
        self.browser = httpx2.Client(base_url=self.url, timeout=30, cookies={name: value, "fedportal_csrf": CSRF})
        self.start_agents()

    def start_agents(self) -> None:
        for agent in self.agents:
            agent.start()

    def home(self, slug: str) -> Home:
        return Home(self.folder / "homes" / slug)

    def address_for(self, agent: LightAgent) -> str:
        """Where this agent finds the portal."""
        return self.url

    def close(self) -> None:
        for agent in self.agents:
            agent.ask_to_end()
        for agent in self.agents:
            agent.end()
        for service in self.services:
            service.down()
        self.nursery.stop()

    def wait_until_up(self) -> None:
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            try:
                if httpx2.get(f"{self.url}/healthz", timeout=10).status_code == 200:
                    return
            except httpx2.TransportError:
                time.sleep(0.02)
        raise AssertionError(f"no portal: {self.last_words()}")

    def last_words(self) -> str:
        return (self.folder / "web.log").read_text(errors="replace")[-3000:]

    # ------------------------------------------------------------------------ points
    def mark(self, point: str) -> Path:
        return self.data / "crashed" / point.replace(":", "-")

    def arm(self, *points: str) -> None:
        for point in points:
            self.mark(point).unlink()

    def was_hit(self, point: str) -> bool:
        return self.mark(point).exists()

    def disarm(self) -> list[str]:
        """The points at which nothing died."""
        missed = [point for point in POINTS if not self.was_hit(point)]
        for point in missed:
            self.mark(point).touch()
        return missed

    @property
    def deaths(self) -> int:
        return sum(len(service.deaths) for service in self.services)

    # ------------------------------------------------------------------ administrator
    def plan(self, kind: dict[str, Any] = PLAIN, **schedule: Any) -> str:
        """A frozen plan of its own, which computes the same as every other of its kind."""
        deadline = schedule.pop("deadline_s", 600) + next(self._serial) / 1000
        document = {
            "project": "retail", "features": FEATURES, "label": {"name": "default", "positive": 1}, "participants": list(SLUGS),
            "schedule": {"rounds": 2, **schedule, "deadline_s": deadline}, **kind,
        }
        return str(self.console("freeze", document))

    def propose(self, plan: str) -> str:
        """Click until there is a run; an answer that was lost is no reason to click again."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            self._post(f"/plans/{plan}/start/")
            if runs := self.console("runs", plan):
                assert len(runs) == 1
                return str(runs[0])
        raise AssertionError("no run")

    def click(self, run: str, action: str, *, until: Callable[[dict[str, Any]], bool], **fields: str) -> dict[str, Any]:
        """Click until it shows, as a person does whose browser says that the connection was lost."""
        for _ in range(5):
            self._post(f"/runs/{run}/actions/{action}/", reason="rehearsal", **fields)
            if until(now := self.look(run)):
                return now
        raise AssertionError(f"{action} did nothing: {now}")

    def _post(self, path: str, **fields: str) -> None:
        try:
            answer = self.browser.post(path, data={"csrfmiddlewaretoken": CSRF, **fields})
            assert answer.status_code == 302, (path, answer.status_code, self.last_words())
        except httpx2.TransportError:
            self.wait_until_up()

    @contextmanager
    def dying_console(self, *points: str) -> Iterator[Console]:
        """A process of its own that may die of these points, as a management command would."""
        self.arm(*points)
        console = Console(self.nursery, "dying", points=",".join(points))
        yield console
        console.end()

    # ----------------------------------------------------------------------- the truth
    def look(self, run: str) -> dict[str, Any]:
        return dict(self.console("look", run))

    def wait(self, run: str, what: Callable[[dict[str, Any]], bool], *, seconds: float = WAIT_S) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while not what(now := self.look(run)):
            assert time.monotonic() < until, f"waited in vain: {now}; {[a.troubles[-2:] for a in self.agents]}"
            time.sleep(0.02)
        return now

    def finish(self, run: str) -> dict[str, Any]:
        """Wait until the run is over and every bank holds the result."""
        return self.wait(run, lambda now: now["state"] == "finished" and not now["unacknowledged"])

    def gate(self, step: str, *slugs: str) -> None:
        for agent in self.agents:
            if not slugs or agent.slug in slugs:
                agent.gate.shut(step)

    def behave(self, **behaviour: Any) -> None:
        for agent in self.agents:
            agent.behaviour = dict(behaviour)

    def release(self) -> None:
        for agent in self.agents:
            agent.gate.open()

    def agent(self, slug: str) -> LightAgent:
        return next(agent for agent in self.agents if agent.slug == slug)

    def check(self) -> None:
        """Nothing acknowledged is lost, the ledger verifies, equal manifests gave equal bits, no agent was led astray."""
        receipts = [receipt for slug in SLUGS for receipt in receipts_of(self.home(slug))]
        assert receipts
        assert self.console("unknown_entries", [(r.chain, r.seq, r.entry_hash) for r in receipts]) == []
        assert self.console("verify_all") >= 3
        came_of: dict[str, set[str]] = {}
        for manifest, digest in self.console("aggregations"):
            came_of.setdefault(manifest, set()).add(digest)
        assert all(len(digests) == 1 for digests in came_of.values())
        assert self.console("damaged_blobs") == []
        troubles = [trouble for agent in self.agents for trouble in agent.troubles if trouble.code not in self.tolerated]
        assert not troubles, [(trouble.code, trouble.sentence) for trouble in troubles]

    def check_run(self, run: str) -> None:
        """No update was taken twice, and every version is what its manifest says."""
        accepted = self.console("accepted", run)
        assert len(accepted) == len(set(accepted))
        assert all(published == computed for published, computed in self.console("replay", run))

    def rest(self) -> None:
        """Wait until every bank has done what it had to do."""
        until = time.monotonic() + WAIT_S
        while any(agent.is_busy for agent in self.agents):
            assert time.monotonic() < until
            time.sleep(0.02)

    def settle(self) -> None:
        """Between two tests: everybody up, nothing armed, nothing held."""
        self.disarm()
        self.release()
        self.rest()
        self.behave()
        self.tolerated = set()
        for agent in self.agents:
            agent.troubles.clear()
        for service in self.services:
            if service.life is None or service.life.is_over:
                service.up()
        self.wait_until_up()
