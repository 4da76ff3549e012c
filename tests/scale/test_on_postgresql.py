"""The rooms' own suites once more, on PostgreSQL with Redis as cache, broker and store of nonces: same code, other settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import Postgres, Redis

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.services]


@pytest.mark.parametrize("suite", ["audit", "rounds", "institutions"])
def test_the_suite_holds_on_postgresql(suite: str, postgres: Postgres, redis: Redis):
    argv = [sys.executable, "-m", "pytest", f"tests/{suite}", "-q", "-p", "no:playwright", "-m", "not slow and not services"]
    if suite == "rounds":
        argv += ["--ignore=tests/rounds/test_backup.py"]  # it starts portals of its own, on SQLite
    if suite == "institutions":
        argv += ["--ignore=tests/institutions/test_serve.py", "--ignore=tests/institutions/test_settings.py"]
    settings = {"DATABASE_URL": postgres.database(f"suite_{suite}"), "REDIS_URL": redis.url}
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
