"""The rooms' own suites once more, on PostgreSQL with Redis as cache, broker and store of nonces: same code, other settings."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.services import Postgres, Redis

ROOT = Path(__file__).resolve().parents[2]
OF_SQLITE = {"test_backup.py", "test_serve.py", "test_settings.py", "test_queued_writers.py"}
"""Start portals of their own on SQLite, or are about it."""
AT_ONCE = 2
pytestmark = [pytest.mark.slow, pytest.mark.services]


def shares() -> dict[str, list[str]]:
    """Test files by the name of their share; each share has a database and a Redis number of its own."""
    rooms = {room: sorted((ROOT / "tests" / room).glob("test_*.py")) for room in ("rounds", "audit", "institutions")}
    files = {room: [str(path.relative_to(ROOT)) for path in paths if path.name not in OF_SQLITE] for room, paths in rooms.items()}
    half = {f"rounds_{i}": files["rounds"][i::2] for i in range(2)}
    return half | {"rest": files["audit"] + files["institutions"]}


def test_the_suites_hold_on_postgresql(postgres: Postgres, redis: Redis):
    def run(number: int, share: str, files: list[str]) -> str:
        argv = [sys.executable, "-m", "pytest", *files, "-q", "-p", "no:playwright", "-m", "not slow and not services"]
        settings = {"DATABASE_URL": postgres.database(f"suite_{share}"), "REDIS_URL": redis.url.removesuffix("/0") + f"/{number}"}
        done = subprocess.run(argv, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=900, check=False)
        return "" if done.returncode == 0 else f"{share}: {done.stdout[-4000:]}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        failed = list(pool.map(lambda job: run(job[0], *job[1]), enumerate(shares().items())))
    assert not any(failed), "\n".join(failed)
