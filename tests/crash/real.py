"""The same federation with real ``fedagent`` processes that train on small tables, started again when they die."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clientagent.lock import holder
from rounds.rehearsal.banks import Agents, Bank, write_policies
from rounds.rehearsal.faults import Fault
from rounds.rehearsal.hosting import AgentHost
from tests.crash.scratch import SLUGS, Scratch

TRAINED: dict[str, Any] = {"model": {"family": "logistic", "hidden": []}, "training": {"epochs": 1, "batch_size": 64}}


class RealScratch(Scratch):
    """``start_agents`` may be called again, with faults."""

    agents_running: Agents | None = None
    host: AgentHost | None = None

    def start_agents(self, injected: Sequence[Fault] = ()) -> None:
        banks = [Bank(slug, slug.title(), self._table(slug), self.home(slug).path) for slug in SLUGS]
        write_policies(banks, project="retail")
        self.host = AgentHost(log=self.folder / "agents.log")
        self.deaths_of_agents: list[str] = []
        running = Agents(banks, self.host, self.deaths_of_agents.append, injected)
        running.start()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._look, args=(running, self._stopping), daemon=True)
        self._watch.start()

    def stop_agents(self) -> None:
        if self.host is not None:
            self._stopping.set()
            self._watch.join()
            self.host.stop()
            self.host = None

    def close(self) -> None:
        self.stop_agents()
        super().close()

    def kill_agent(self, slug: str) -> None:
        """SIGKILL to whichever process holds the home's lock now, if one does."""
        if pid := holder(self.home(slug).lock_path):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    @staticmethod
    def _look(running: Agents, stopping: threading.Event) -> None:
        while not stopping.is_set():
            running.look(0.05)

    def _table(self, slug: str) -> Path:
        """300 customers whose default depends on income and region."""
        rng = np.random.default_rng(len(slug) + SLUGS.index(slug))
        income, region = rng.normal(10, 3, 300), rng.integers(0, 3, 300)
        default = rng.random(300) < 1 / (1 + np.exp(income - 9 - region))
        path = self.folder / f"{slug}.csv"
        rows = zip(income, region, default, strict=True)
        path.write_text("income,region,default\n" + "".join(f"{i:.4f},r{r},{int(d)}\n" for i, r, d in rows))
        return path
