"""Aggregation from bytes on disk: 10 updates of 10 million parameters, each side in fresh processes, in turn; medians of 3.

Ours: ``rounds.algorithms.blocks.aggregate`` with FedAvg, reading and writing included. Beside it Flower's FedAvg from the same bytes,
where ``flwr`` is installed. Memory is what the process grew beyond its imports.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
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


def run() -> Iterator[str]:
    sides = ["ours"] + (["flower"] if importlib.util.find_spec("flwr") else [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_updates(folder)
        figures: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for _ in range(REPEATS):
            for side in sides:
                figures[side].append(_measure(side, folder))
    best = {side: {key: statistics.median(row[key] for row in rows) for key in ("ms", "mib")} for side, rows in figures.items()}
    for side, row in best.items():
        yield f"{side:<8} {row['ms']:8.0f} ms  {row['mib']:8.0f} MiB"
    if "flower" in best:
        yield f"ratio    {best['flower']['ms'] / best['ours']['ms']:8.1f} x   {best['flower']['mib'] / best['ours']['mib']:8.1f} x"
    else:
        yield "flower   not installed (pip install flwr): no row beside ours"


def _write_updates(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(BANKS + 1):
        values = rng.standard_normal(PARAMETERS, np.float32)
        (folder / f"{i}.bin").write_bytes(b"\0" * HEADER + values.tobytes())


def _measure(side: str, folder: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "benchmarks.aggregation", side, str(folder)], capture_output=True, check=True)
    row: dict[str, float] = json.loads(done.stdout)
    return row


def _ours(folder: Path) -> None:
    from rounds.algorithms.blocks import FlatFile, aggregate
    from rounds.algorithms.fedavg import combine

    files = [FlatFile(folder / f"{i}.bin", HEADER) for i in range(BANKS + 1)]
    digest = hashlib.sha256()
    with (folder / "result.bin").open("wb") as result:

        def write(data: bytes) -> None:
            result.write(data)
            digest.update(data)

        weights = np.full(BANKS, 1 / BANKS)
        aggregate(base=files[0], updates=files[1:], weights=weights, parameters=PARAMETERS, rule=combine, write=write)


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
    started = time.perf_counter()
    work(folder)
    seconds = time.perf_counter() - started
    grown = _peak_kib() - before
    print(json.dumps({"ms": seconds * 1000, "mib": grown / 1024}))


def _peak_kib() -> int:
    """VmHWM, because getrusage hands a parent's peak down to its children."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))
