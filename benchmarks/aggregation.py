"""Aggregation from bytes on disk: 10 updates of 10 million parameters, each side in fresh processes, in turn; medians of 3.

Ours: ``rounds.algorithms.blocks.aggregate`` with FedAvg, reading and writing included. Beside it Flower's FedAvg from the
same bytes, where it is found (``benchmarks.peers``). Memory is what the process grew beyond its imports; the processor's time
is steadier than the clock's where a machine is shared. Then ours alone for 10, 50 and 200 institutions of the same size: the
memory must not grow with them. More than ten share the bytes of ten (links to the files), which no part of the reading knows.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.memory import peak_kib
from benchmarks.peers import NO_FLOWER, flower_python

BANKS, PARAMETERS, REPEATS = 10, 10_000_000, 3
COHORTS = (10, 50, 200)
HEADER = 8
UNITS = ("ms", "cpu_ms", "mib")


def run() -> Iterator[str]:
    pythons = {"ours": sys.executable, "flower": flower_python()}
    sides = {side: python for side, python in pythons.items() if python}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_updates(folder)
        figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(REPEATS):
            for side, python in sides.items():
                figures[side].append(_measure(side, python, folder, BANKS))
        yield from _beside_each_other(figures)
        for banks in COHORTS:
            row = _measure("ours", sys.executable, folder, banks)
            yield f"ours, {banks:>3} institutions {row['ms']:6.0f} ms  {row['mib']:4.0f} MiB"


def _beside_each_other(figures: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    best = {side: {key: statistics.median(row[key] for row in rows) for key in UNITS} for side, rows in figures.items()}
    for side, row in best.items():
        yield f"{side:<8} {row['ms']:8.0f} ms  {row['cpu_ms']:8.0f} ms of processor  {row['mib']:8.0f} MiB"
    if "flower" in best:
        ratios = {unit: best["flower"][unit] / best["ours"][unit] for unit in UNITS}
        yield f"ratio    {ratios['ms']:8.1f} x   {ratios['cpu_ms']:8.1f} x               {ratios['mib']:8.1f} x   (targets 8 and 10)"
    else:
        yield NO_FLOWER


def _write_updates(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(BANKS + 1):
        values = rng.standard_normal(PARAMETERS, np.float32)
        (folder / f"{i}.bin").write_bytes(b"\0" * HEADER + values.tobytes())


def _measure(side: str, python: str, folder: Path, banks: int) -> dict[str, float]:
    for i in range(BANKS + 1, banks + 1):
        if not (link := folder / f"{i}.bin").exists():
            link.hardlink_to(folder / f"{(i - 1) % BANKS + 1}.bin")
    argv = [python, "-m", "benchmarks.aggregation", side, str(folder), str(banks)]
    done = subprocess.run(argv, capture_output=True, check=True)
    row: dict[str, float] = json.loads(done.stdout)
    return row


def _ours(folder: Path, banks: int) -> None:
    from clientagent.wire.plan import Strategy
    from rounds.algorithms.blocks import RoundFiles, Sink, aggregate
    from rounds.algorithms.fedavg import STRATEGY
    from rounds.algorithms.files import FlatFile, Uploads
    from rounds.algorithms.strategy import Facts

    uploads = Uploads([folder / f"{i + 1}.bin" for i in range(banks)], {"update": HEADER})
    alike, ones = np.full(banks, 1 / banks), np.ones(banks)
    facts = Facts(Strategy(name="fedavg"), alike, alike, ones, ones, ones, 1, banks, 0.01)
    digest = hashlib.sha256()
    with (folder / "result.bin").open("wb") as result:

        def write(data: bytes) -> None:
            result.write(data)
            digest.update(data)

        aggregate(STRATEGY, facts, RoundFiles(FlatFile(folder / "0.bin", HEADER), uploads, PARAMETERS), Sink(write))


def _flower(folder: Path, banks: int) -> None:
    from flwr.common import FitRes, Status, ndarrays_to_parameters  # type: ignore[import-not-found]
    from flwr.server.strategy import FedAvg  # type: ignore[import-not-found]

    results = []
    for i in range(1, banks + 1):
        values = np.frombuffer((folder / f"{i}.bin").read_bytes()[HEADER:], np.float32)
        results.append((None, FitRes(Status(0, ""), ndarrays_to_parameters([values]), 100, {})))
    FedAvg().aggregate_fit(1, results, [])


def _child(side: str, folder: Path, banks: int) -> None:
    work = {"ours": _ours, "flower": _flower}[side]
    if side == "flower":
        import flwr.server.strategy  # type: ignore[import-not-found]  # noqa: F401 - imports are not measured
    else:
        import rounds.algorithms.blocks  # noqa: F401
    before = peak_kib()
    started, busy = time.perf_counter(), time.process_time()
    work(folder, banks)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    grown = peak_kib() - before
    print(json.dumps({"ms": seconds * 1000, "cpu_ms": busy * 1000, "mib": grown / 1024}))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
