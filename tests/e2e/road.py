"""The whole portal as processes: ``manage.py serve`` on a scratch folder, and banks that are real agents."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rounds.rehearsal.processes import Portal, environment, start, stop

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a long and quiet password"


@dataclass
class Road:
    """One portal, its folder, and whatever was started beside it."""

    folder: Path
    url: str = ""
    _portal: Portal | None = None
    _agents: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return environment(self.folder / "portal")

    def manage(self, *argv: str, **options: str) -> str:
        """A command of the portal's machine; its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *argv], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120, check=False,
            input=options.get("given", ""),
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def open(self) -> None:
        self.manage("migrate", "-v0")
        self.manage("create_administrator", "--email", "ada@example.org", "--name", "Ada", "--password-stdin", given=PASSWORD + "\n")
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            self._portal = Portal(port=0, log=self.folder / "portal.log")
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.url = self._portal.wait()

    def close(self) -> None:
        for agent in self._agents:
            stop(agent)
        if self._portal:
            self._portal.stop()

    def fedagent(self, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "clientagent", *argv]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    def run_agent(self, home: Path) -> None:
        log = home.parent / f"{home.name}.log"
        self._agents.append(start(sys.executable, "-m", "clientagent", "run", "--home", str(home), log=log, cwd=ROOT))

    def bank(self, slug: str, seed: int) -> Path:
        """A bank's machine: a home for its agent, its table, and a policy that accepts the project's plans."""
        home = self.folder / slug
        home.mkdir(mode=0o700)
        table = write_table(self.folder / f"{slug}.csv", seed)
        (home / "policy.toml").write_text(
            f'[accept]\nprojects = ["retail"]\n\n[data.retail]\npath = {json.dumps(str(table))}\nlineage = "{slug}-customers"\n'
        )
        return home


def write_table(path: Path, seed: int, rows: int = 900) -> Path:
    rng = np.random.default_rng(seed)
    income, debt = rng.normal(50, 15, rows).round(1), rng.exponential(10, rows).round(1)
    bad = rng.random(rows) < 1 / (1 + np.exp(-(-1.5 + 0.08 * debt - 0.05 * (income - 50))))
    lines = ["income,debt,bad"] + [f"{income[i]},{debt[i]},{int(bad[i])}" for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def enrol_command(page_text: str) -> list[str]:
    """The arguments of the enrolment command that a page shows."""
    found = re.search(r"fedagent (enrol \S+ --code \S+)", page_text)
    assert found, page_text
    return found[1].split()
