"""A table larger than memory trains from disk, to the same bits as one that fits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from clientagent.cli import app
from clientagent.data import Room, check_table, split_rows
from clientagent.preparation.cells import grid_points
from clientagent.preparation.preprocess import Inputs, prepare
from clientagent.preparation.statistics import statistics_report
from clientagent.training.batches import shuffled
from clientagent.training.local import train
from clientagent.wire.errors import DataUnfit
from clientagent.wire.weights import initial_weights
from rounds.algorithms.preprocessing import pool_statistics
from tests.agent.given import one_bank_plan, run_agent, write_table
from tests.agent.portal_double import PortalDouble
from tests.agent.private import some_rows

pyarrow = pytest.importorskip("pyarrow")
ROOT = Path(__file__).resolve().parents[2]


def as_parquet(csv: Path) -> Path:
    from pyarrow import csv as reader
    from pyarrow import parquet

    path = csv.with_suffix(".parquet")
    parquet.write_table(reader.read_csv(csv), path, row_group_size=700)
    return path


@pytest.fixture
def roads(tmp_path):
    """The same table read into memory and to disk: some rows without a label, some missing values, some rows twice."""
    rng = np.random.default_rng(3)
    rows = 3000
    income = np.round(rng.normal(50, 10, rows)).astype(object)
    income[::17] = ""
    label = (rng.random(rows) < 0.3).astype(int).astype(object)
    label[::41] = ""
    path = as_parquet(write_table(tmp_path / "t.csv", rows=rows, income=income, default=label))

    def open_(plan):
        return [check_table(plan, path, room=Room(tmp_path / "working", memory_mb)).require() for memory_mb in (10_000, 0)]

    return open_


def same(one: Inputs, other: Inputs) -> bool:
    return np.asarray(one.matrix).tobytes() == np.asarray(other.matrix).tobytes() and one.labels.tobytes() == other.labels.tobytes()


def small_blocks(table):
    """The stored table with blocks of a few hundred rows, so that each pass has many."""
    from dataclasses import replace

    class Little(type(table.store)):
        def rows_at_a_time(self, row_bytes):
            return 700

    store = Little(table.store.folder, table.store.memory_bytes, table.store.table_bytes)
    return replace(table, store=store)


@pytest.mark.parametrize("method", ["zscore", "quantile", "piecewise", "woe"])
def test_both_roads_split_count_and_prepare_alike(roads, tmp_path, method):
    plan = one_bank_plan(preprocessing__numeric=method, preprocessing__categorical="woe" if method == "woe" else "onehot")
    inside, stored = roads(plan)
    assert inside.store is None
    assert stored.store is not None
    outside = small_blocks(stored)
    splits = [split_rows(plan, table) for table in (inside, outside)]
    assert splits[0].state == splits[1].state
    reports = [
        statistics_report(plan, table, split, run="00000000-0000-4000-8000-000000000001", institution="north", salt="s")
        for table, split in zip((inside, outside), splits, strict=True)
    ]
    assert reports[0] == reports[1]
    spec = pool_statistics(plan, reports[:1])
    first, second = (prepare(spec, table, split) for table, split in zip((inside, outside), splits, strict=True))
    assert same(first.training, second.training)
    assert same(first.validation, second.validation)
    assert same(first.holdout, second.holdout)
    assert second.training.at_a_time
    assert not list((tmp_path / "working").iterdir()), "files without a name leave nothing behind"


@pytest.mark.parametrize("changes", [
    {}, {"training__class_weight": "balanced"}, {"training__class_weight": "focal"}, {"model": {"family": "mlp", "hidden": [5]}},
    {"strategy__name": "scaffold", "model": {"family": "mlp", "hidden": [5], "dropout": 0.0}},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 7, 64, 400])
def test_both_roads_train_to_the_same_bits(changes, batch):
    plan = one_bank_plan(training={"epochs": 2, "batch_size": batch}, **changes)
    inside = some_rows(rows=400)
    base = initial_weights(plan, 5)
    updates = [train(plan, base, rows, round_number=1, seed=9) for rows in
               (inside, Inputs(inside.matrix, inside.labels, 1), Inputs(inside.matrix, inside.labels, 130))]  # fmt: skip
    assert len({one.update.tobytes() for one in updates}) == 1
    assert len({(one.train_loss, one.steps) for one in updates}) == 1


@given(rows=st.integers(1, 60), at_a_time=st.integers(0, 70), batch=st.integers(1, 70), seed=st.integers(0, 99))
@settings(deadline=None)
def test_a_shuffle_from_disk_is_the_shuffle_in_memory(rows, at_a_time, batch, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, 3)).astype(np.float32)
    order = rng.permutation(rows)
    parts = list(shuffled(Inputs(matrix, np.zeros(rows, np.int8), at_a_time), order, batch))
    assert np.concatenate(parts).tobytes() == matrix[order].tobytes()
    assert all(len(part) % batch == 0 for part in parts[:-1])


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40), st.integers(1, 7))
def test_points_of_a_grid_do_not_depend_on_blocks(values, block):
    import clientagent.preparation.cells as cells

    ordered = np.sort(np.array(values))
    whole, before = grid_points(ordered), cells.BLOCK
    try:
        cells.BLOCK = block
        assert grid_points(ordered).tolist() == whole.tolist()
    finally:
        cells.BLOCK = before


def test_check_says_which_road_a_table_takes(home, tmp_path):
    plan, table = tmp_path / "plan.json", as_parquet(write_table(tmp_path / "t.csv", rows=20_000))
    plan.write_text(json.dumps(one_bank_plan().model_dump(mode="json")))
    home.path.mkdir(parents=True)
    said = []
    for memory_mb in (1, 10_000):
        home.policy_path.write_text(f'[data."retail-credit"]\npath = "{table}"\nmemory_mb = {memory_mb}\n')
        argv = ["check", "--plan", str(plan), "--home", str(home.path)]
        said.append(CliRunner().invoke(app, argv).output)
        assert json.loads(CliRunner().invoke(app, [*argv, "--json"]).output)[0]["from_disk"] is (memory_mb == 1)
    assert "from disk" in said[0]
    assert "in memory" in said[1]


def test_a_disk_without_room_is_told_before_anything_is_read(tmp_path, monkeypatch):
    import shutil

    table = as_parquet(write_table(tmp_path / "t.csv"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataUnfit) as refusal:
        check_table(one_bank_plan(), table, room=Room(tmp_path / "working", 0))
    assert str(tmp_path / "working") in refusal.value.expected


ROWS, FEATURES, LIMIT_MB = 300_000, 100, 64
UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import numpy, pyarrow.parquet, pyarrow.dataset
import clientagent.agent, clientagent.work, clientagent.evaluation.gains
if sys.argv[3] == "mlp":
    import torch
    torch.set_num_threads(1)
    from clientagent.training.warmup import _load
    _load()
from clientagent.home import Home
from tests.agent.given import run_agent
numpy.ones((300, 300), numpy.float32) @ numpy.ones((300, 300), numpy.float32)  # the library's own buffers
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[2]) * 2**20,) * 2)
run_agent(Home(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process's own memory are Linux's")
@pytest.mark.slow
@pytest.mark.parametrize("family", ["logistic", "mlp"])
def test_a_run_over_a_table_of_several_times_the_memory(serve, bank, tmp_path, family):
    from pyarrow import Table, parquet

    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(FEATURES)]
    path = tmp_path / "large.parquet"
    writer = None
    for _group in range(10):
        block = {name: rng.normal(size=ROWS // 10) for name in names}
        risk = block["x0"] + rng.normal(size=ROWS // 10)
        part = Table.from_pydict({**block, "default": (risk > 1).astype(np.int8)})
        writer = writer or parquet.ParquetWriter(path, part.schema, compression="none", use_dictionary=False)
        writer.write_table(part)
    writer.close()
    assert path.stat().st_size > 3.5 * LIMIT_MB * 2**20
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def run(memory_mb: int) -> tuple[PortalDouble, str]:
        portal = serve(
            features=[{"name": name, "kind": "numeric"} for name in names], training={"epochs": 1, "batch_size": 256},
            model={"family": family, "hidden": [8]}, schedule={"rounds": 1},
        )
        home = bank(portal)
        policy = home.policy_path.read_text()
        home.policy_path.write_text(policy.replace('path = "table.csv"', f'path = "{path}"\nmemory_mb = {memory_mb}'))
        done = subprocess.run(
            [sys.executable, "-c", UNDER_A_LIMIT, str(home.path), str(LIMIT_MB), family], cwd=ROOT, env=environment,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        return portal, done.stderr[-3000:]

    portal, said = run(100_000)
    assert portal.stage != "done", "in memory the table does not fit under the limit"
    assert "does not fit into memory" in said
    portal, said = run(16)
    assert portal.stage == "done", said
    assert portal.versions[1].any()


def test_what_lay_on_disk_goes_with_the_run(serve, bank):
    portal = serve(training__epochs=1)
    home = bank(portal)
    as_parquet(home.path / "table.csv")
    home.policy_path.write_text(home.policy_path.read_text().replace('"table.csv"', '"table.parquet"\nmemory_mb = 1'))
    write_table(home.path / "large.csv", rows=20_000)
    as_parquet(home.path / "large.csv").rename(home.path / "table.parquet")
    run_agent(home)
    assert portal.stage == "done"
    assert not list((home.path / "working").iterdir())
    deleted = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()] if sys.platform == "linux" else []
    assert not [name for name in deleted if str(home.path / "working") in name]
