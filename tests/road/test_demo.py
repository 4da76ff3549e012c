"""``demo --exit`` runs a whole demo federation and ends by itself; an interrupted demo leaves no process behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.road.commands import ROOT, manage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scenario", ["credit", "fraud"])
def test_a_demo_that_exits_tells_its_rounds_and_final_metrics(scenario, tmp_path):
    argv = ["--scenario", scenario, "--port", "0", "--folder", str(tmp_path / "demo")]
    done = manage("demo", "--exit", *argv, timeout_s=580)
    assert done.returncode == 0, done.stderr
    for role in ("administrator", "operator", "auditor"):
        assert re.search(rf"{role}\s+\S+@\S+\s+\S{{12,}}", done.stdout), role
    assert "fedportal is at http://127.0.0.1:" in done.stdout
    assert re.search(r"round\s+seconds\s+banks\s+up\s+down\s+AUC\s+KS\s+log loss\n\s+1 ", done.stdout)
    assert re.search(r"AUC 0\.\d{4}, KS 0\.\d{4}, Gini", done.stdout)


def test_ctrl_c_stops_everything_that_the_demo_started(tmp_path):
    argv = [sys.executable, "manage.py", "demo", "--port", "0", "--folder", str(tmp_path / "demo")]
    demo = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = []
    for line in demo.stdout:
        if "The run begins when" in line:
            started = _descendants(demo.pid)
            demo.send_signal(signal.SIGINT)
            break
    rest = demo.communicate(timeout=30)[0]
    assert demo.returncode == 0
    assert "Stopped" in rest
    assert len(started) >= 6  # the portal, the agents' host, four agents
    until = time.monotonic() + 5
    while (left := [pid for pid in started if _is_alive(pid)]) and time.monotonic() < until:
        time.sleep(0.1)  # the system takes the last ones away
    assert left == []


def _descendants(pid: int) -> list[int]:
    parents = {int(path.name): _stat(int(path.name))[1] for path in Path("/proc").iterdir() if path.name.isdecimal()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {pid})


def _is_alive(pid: int) -> bool:
    return _stat(pid)[0] not in ("Z", "X")


def _stat(pid: int) -> tuple[str, int]:
    """(state, parent) of a process; X for one that is gone."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return state, int(parent)
