"""A large aggregation in spans: whoever computes them, the bits are those of one worker."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import numpy as np
import pytest

from clientagent.wire.plan import Strategy as StrategyPart
from rounds.algorithms.blocks import Job, RoundFiles, Sink, aggregate
from rounds.algorithms.files import FlatFile, Uploads
from rounds.algorithms.registry import strategy_named
from rounds.clock import now
from rounds.engine import sharing
from rounds.models import Round
from rounds.services.collection import collect
from rounds.storage import blobs
from tests.rounds.rows import facts_of

PARAMETERS, BANKS = 10_007, 5


@pytest.fixture
def job_named(tmp_path, settings):
    settings.AGGREGATION_SPAN_BYTES = 4 * 1500
    rng = np.random.default_rng(3)
    for k in range(BANKS):
        (tmp_path / f"u{k}").write_bytes(rng.normal(size=PARAMETERS).astype("<f4").tobytes())
    (tmp_path / "base").write_bytes(rng.normal(size=PARAMETERS).astype("<f4").tobytes())
    paths = [tmp_path / f"u{k}" for k in range(BANKS)]

    def named(name: str) -> Job:
        files = RoundFiles(FlatFile(tmp_path / "base", 0), Uploads(paths, {"update": 0}), PARAMETERS)
        return Job(strategy_named(name), facts_of(StrategyPart(name=name), BANKS), files)

    return named


@pytest.fixture
def round_():
    return Round(pk=7, aggregation_digest="d" * 64)


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    """Nobody else is there to hear."""
    numbers = []
    monkeypatch.setattr(sharing, "_ask", lambda round_, count, mean: numbers.extend(range(count)))
    return numbers


def _alone(job: Job) -> tuple[bytes, object]:
    written: list[bytes] = []
    geometry = aggregate(job.strategy, job.facts, job.files, Sink(written.append))
    return b"".join(written), geometry


def _vector(round_: Round, job: Job) -> bytes:
    written: list[bytes] = []
    sharing.aggregate_together(round_, job, written.append, on_block=lambda share: None)
    return b"".join(written)


@pytest.mark.parametrize("name", ["fedavg", "median", "trimmed_mean", "krum", "geometric_median", "norm_bound"])
def test_spans_put_together_are_the_whole(job_named, round_, name, asked):
    job = job_named(name)
    whole, geometry = _alone(job)
    written: list[bytes] = []
    shared = sharing.aggregate_together(round_, job, written.append, on_block=lambda share: None)
    assert b"".join(written) == whole
    assert asked == list(range(7))
    assert np.allclose(shared.norms, geometry.norms)
    assert np.allclose(shared.cosines, geometry.cosines)
    assert not sharing.folder_of(round_).exists()


def test_what_another_worker_has_computed_is_taken(job_named, round_):
    job = job_named("fedavg")
    folder = sharing.folder_of(round_)
    folder.mkdir(parents=True)
    assert sharing.compute_span(folder, job, 2)
    assert not sharing.compute_span(folder, job, 2)
    computed = (folder / "2.f32").stat().st_mtime_ns
    seen = []
    assert _vector_and(round_, job, lambda: seen.append((folder / "2.f32").stat().st_mtime_ns)) == _alone(job)[0]
    assert set(seen) == {computed}


def _vector_and(round_: Round, job: Job, look) -> bytes:
    written: list[bytes] = []
    sharing.aggregate_together(round_, job, written.append, on_block=lambda share: look())
    return b"".join(written)


def test_a_span_of_a_worker_that_died_is_computed_by_another(job_named, round_):
    job = job_named("fedavg")
    folder = sharing.folder_of(round_)
    folder.mkdir(parents=True)
    (folder / "3.claim").touch()
    assert not sharing.compute_span(folder, job, 3)
    long_ago = time.time() - sharing.CLAIM_S - 1
    os.utime(folder / "3.claim", (long_ago, long_ago))
    assert _vector(round_, job) == _alone(job)[0]


def test_a_worker_that_comes_when_the_round_is_over_does_nothing(job_named, round_):
    assert not sharing.compute_span(sharing.folder_of(round_), job_named("fedavg"), 0)


@pytest.mark.django_db
def test_spans_that_nobody_put_together_are_forgotten(job_named, round_):
    folder = sharing.folder_of(round_)
    folder.mkdir(parents=True)
    sharing.compute_span(folder, job_named("fedavg"), 0)
    collect(moment=now())
    assert folder.exists()
    collect(moment=now() + timedelta(days=2))
    assert not folder.exists()
    assert blobs.root().exists()
