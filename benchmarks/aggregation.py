"""Aggregation from bytes on disk: 10 updates of 10 million parameters, each side in fresh processes, in turn; medians of 3.

Ours: ``rounds.algorithms.blocks.aggregate`` with FedAvg, reading and writing included. Beside it Flower's FedAvg from the
same bytes, where ``flwr`` is installed, here or for the Python that ``FLOWER_PYTHON`` names (a throwaway environment). Memory is what the
process grew beyond its imports; the processor's time is steadier than the clock's where a machine is shared.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BANKS, PARAMETERS, REPEATS = 10, 10_000_000, 3
HEADER = 8
UNITS = ("ms", "cpu_ms", "mib")


def run() -> Iterator[str]:
    has_flower = "FLOWER_PYTHON" in os.environ or importlib.util.find_spec("flwr")
    sides = ["ours"] + (["flower"] if has_flower else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_updates(folder)
        figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(REPEATS):
            for side in sides:
                figures[side].append(_measure(side, folder))
    best = {side: {key: statistics.median(row[key] for row in rows) for key in UNITS} for side, rows in figures.items()}
    for side, row in best.items():
        yield f"{side:<8} {row['ms']:8.0f} ms  {row['cpu_ms']:8.0f} ms of processor  {row['mib']:8.0f} MiB"
    if "flower" in best:
        ratios = {unit: best["flower"][unit] / best["ours"][unit] for unit in UNITS}
        yield f"ratio    {ratios['ms']:8.1f} x   {ratios['cpu_ms']:8.1f} x               {ratios['mib']:8.1f} x   (targets 8 and 10)"
    else:
        yield "flower   not installed (pip install flwr): no row beside ours"


def _write_updates(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(BANKS + 1):
        values = rng.standard_normal(PARAMETERS, np.float32)
        (folder / f"{i}.bin").write_bytes(b"\0" * HEADER + values.tobytes())


def _measure(side: str, folder: Path) -> dict[str, float]:
    python = os.environ.get("FLOWER_PYTHON", sys.executable) if side == "flower" else sys.executable
    done = subprocess.run([python, "-m", "benchmarks.aggregation", side, str(folder)], capture_output=True, check=True)
    row: dict[str, float] = json.loads(done.stdout)
    return row


def _ours(folder: Path) -> None:
    from clientagent.wire.plan import Strategy
    from rounds.algorithms.blocks import RoundFiles, Sink, aggregate
    from rounds.algorithms.fedavg import STRATEGY
    from rounds.algorithms.files import FlatFile, Uploads
    from rounds.algorithms.strategy import Facts

    uploads = Uploads([folder / f"{i + 1}.bin" for i in range(BANKS)], {"update": HEADER})
    alike, ones = np.full(BANKS, 1 / BANKS), np.ones(BANKS)
    facts = Facts(Strategy(name="fedavg"), alike, alike, ones, ones, ones, 1, BANKS, 0.01)
    digest = hashlib.sha256()
    with (folder / "result.bin").open("wb") as result:

        def write(data: bytes) -> None:
            result.write(data)
            digest.update(data)

        aggregate(STRATEGY, facts, RoundFiles(FlatFile(folder / "0.bin", HEADER), uploads, PARAMETERS), Sink(write))


def _flower(folder: Path) -> None:
    from flwr.common import FitRes, Status, ndarrays_to_parameters  # type: ignore[import-not-found]
    from flwr.server.strategy import FedAvg  # type: ignore[import-not-found]

    results = []
    for i in range(1, BANKS + 1):
        values = np.frombuffer((folder / f"{i}.bin").read_bytes()[HEADER:], np.float32)
        results.append((None, FitRes(Status(0, ""), ndarrays_to_parameters([values]), 100, {})))
    FedAvg().aggregate_fit(1, results, [])


def _child(side: str, folder: Path) -> None:
    work = {"ours": _ours, "flower": _flower}[side]
    if side == "flower":
        import flwr.server.strategy  # type: ignore[import-not-found]  # noqa: F401 - imports are not measured
    else:
        import rounds.algorithms.blocks  # noqa: F401
    before = _peak_kib()
    started, busy = time.perf_counter(), time.process_time()
    work(folder)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    grown = _peak_kib() - before
    print(json.dumps({"ms": seconds * 1000, "cpu_ms": busy * 1000, "mib": grown / 1024}))


def _peak_kib() -> int:
    """VmHWM, because getrusage hands a parent's peak down to its children."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
