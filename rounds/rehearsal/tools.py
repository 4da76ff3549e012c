"""The agent's own code, asked from outside: drafting, splitting, generating, references. The portal reads no table itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from clientagent.wire.errors import Refusal

ROOT = Path(__file__).resolve().parent.parent.parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class ToolFailed(Refusal):
    code = "rehearsal_failed"
    advice = "Correct what is named here and start again."


def environment() -> dict[str, str]:
    """For the agent's code: one thread, and this checkout's package from whatever folder we were called in."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": path}


def run(*argv: str) -> str:
    """Standard output of ``python -m clientagent.rehearsal argv``. Raises ``ToolFailed`` with its own words."""
    done = subprocess.run(
        [sys.executable, "-m", "clientagent.rehearsal", *argv], capture_output=True, text=True,
        env=environment(), check=False,
    )
    if done.returncode:
        raise _failure(done.stderr or done.stdout)
    return done.stdout


def run_json(*argv: str) -> Any:
    return json.loads(run(*argv))


def _failure(text: str) -> ToolFailed:
    """Its problem as it told it (JSON, if it could), else the end of what it wrote."""
    last = text.strip().splitlines()[-1:] or ["it ended without a word"]
    try:
        problem = json.loads(last[0])
        failed = ToolFailed(expected=problem["expected"], got=problem["got"], action=problem["action"])
        failed.code = problem["code"]  # type: ignore[misc]
        return failed
    except (ValueError, KeyError, TypeError):
        return ToolFailed(got=" ".join(text.split())[-500:])


def option(name: str, value: object) -> list[str]:
    """``--name value``, or nothing for a value that is missing."""
    return [] if value in (None, "") else [f"--{name}", str(value)]


def project_named_after(path: Path) -> str:
    """A project's slug from the name of a table."""
    letters = [letter if letter.isascii() and letter.isalnum() else "-" for letter in path.stem.lower()]
    return "-".join(part for part in "".join(letters).split("-") if part)[:40] or "rehearsal"
