"""One scratch portal for many kills: what a test leaves behind is what the next one starts from, as in life."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.crash.scratch import IN_PARTS, MASKED, PLAIN, Scratch
from tests.services import Postgres, Redis

KINDS = {"plain": PLAIN, "parts": IN_PARTS, "masked": MASKED}


@contextmanager
def opened(**services: Any) -> Iterator[Scratch]:
    """A portal with its reference runs done: what undisturbed runs end in."""
    with tempfile.TemporaryDirectory(prefix="fedportal-crash-") as folder:
        scratch = Scratch(Path(folder), **services)
        try:
            scratch.open()
            yield scratch
        finally:
            scratch.close()


def refer(scratch: Scratch) -> Scratch:
    for name, kind in KINDS.items():
        if name not in scratch.references:
            scratch.references[name] = scratch.finish(scratch.propose(scratch.plan(kind)))["selected"]
    assert scratch.deaths == 0
    return scratch


@pytest.fixture(scope="session")
def embedded_portal() -> Iterator[Scratch]:
    """``serve``: everything in one process, on SQLite."""
    with opened() as scratch:
        yield refer(scratch)


@pytest.fixture(scope="session")
def split_portal(postgres: Postgres, redis: Redis) -> Iterator[Scratch]:
    """``serve --no-worker`` and a Celery worker, on PostgreSQL and Redis."""
    with opened(database=postgres.database("crash"), redis=redis.url) as scratch:
        yield refer(scratch)


@pytest.fixture
def embedded(embedded_portal: Scratch) -> Scratch:
    embedded_portal.settle()
    return embedded_portal


@pytest.fixture
def split(split_portal: Scratch) -> Scratch:
    split_portal.settle()
    return split_portal
