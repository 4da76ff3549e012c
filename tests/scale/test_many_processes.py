"""Two web processes and two workers on PostgreSQL and Redis end where one embedded process ends: in the same bits."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.crash.light import LightAgent
from tests.crash.processes import Supervised
from tests.crash.scratch import IN_PARTS, Scratch
from tests.services import Postgres, Redis, free_port

pytestmark = [pytest.mark.slow, pytest.mark.services]


SHARED = {"AGGREGATION_SHARED_FROM_BYTES": "1", "AGGREGATION_SPAN_BYTES": "400"}
"""So that workers share even the smallest aggregation."""


class Scaled(Scratch):
    """A scratch portal with a second web process and a second worker; the agents are dealt out over both ports."""

    def __init__(self, folder: Path, *, database: str, redis: str, settings: dict[str, str] | None = None) -> None:
        super().__init__(folder, database=database, redis=redis, settings=SHARED | (settings or {}))
        self.second = free_port()
        serve = ("manage", "serve", "--port", str(self.second), "--no-worker")
        self.second_web = Supervised(self.nursery, "web2", serve, {})
        second_worker = Supervised(self.nursery, "worker2", ("worker", "-P", "threads", "-c", "4", "-l", "INFO"), {})
        self.services.append(second_worker)

    def wait_until_up(self) -> None:
        super().wait_until_up()
        if self.second_web.life is None:  # the first has migrated by now
            self.second_web.up()
            self.services.append(self.second_web)
            self.url, first = self._second_url, self.url
            super().wait_until_up()
            self.url = first

    @property
    def _second_url(self) -> str:
        return f"http://127.0.0.1:{self.second}"

    def address_for(self, agent: LightAgent) -> str:
        return self._second_url if agent.slug == "north" else self.url


def _run(scratch: Scratch, kind: dict[str, Any]) -> list[str]:
    scratch.behave(part_bytes=2048 if kind is IN_PARTS else 0)
    run = scratch.propose(scratch.plan(kind, rounds=4))
    now = scratch.finish(run)
    scratch.check_run(run)
    return list(now["versions"])


def _log(scratch: Scratch, name: str) -> str:
    return (scratch.folder / f"{name}.log").read_text(errors="replace")


def test_a_run_over_many_processes_ends_in_the_bits_of_one(tmp_path: Path, postgres: Postgres, redis: Redis):
    one = Scratch(tmp_path / "one")
    with closing(one):
        one.open()
        alone = _run(one, IN_PARTS)
    many = Scaled(tmp_path / "many", database=postgres.database("many"), redis=redis.url)
    with closing(many):
        many.open()
        together = _run(many, IN_PARTS)
        many.check()
        logs = [_log(many, name) for name in ("web", "web2")]
        assert "of an aggregation is computed" in _log(many, "worker2")  # the second worker had its part, whoever held the lease
    assert len(alone) == 5
    assert together == alone
    assert [log for log in logs if "Traceback" in log] == []
