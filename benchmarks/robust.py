"""Robust rules on 20 updates of a million parameters, in turn with Flower's where ``flwr`` is installed; medians of 5, CPU time.

Ours read the updates from disk and write the version; Flower's work on arrays that are already there.
"""

from __future__ import annotations

import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

BANKS, PARAMETERS, REPEATS = 20, 1_000_000, 5
RULES = ("median", "trimmed_mean", "krum", "multikrum", "geometric_median", "centred_clipping", "norm_bound")


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        updates = [1e-3 * rng.standard_normal(PARAMETERS, np.float32) for _ in range(BANKS)]
        for i, update in enumerate([np.zeros(PARAMETERS, np.float32), *updates]):
            (folder / f"{i}.bin").write_bytes(update.tobytes())
        theirs = _flowers(updates)
        for rule in RULES:
            yield _row(rule, _ours(folder, rule), theirs.get(rule))
    if not theirs:
        yield "flower   not installed (pip install flwr): no figures beside ours"


def _row(rule: str, ours: Callable[[], object], flower: Callable[[], object] | None) -> str:
    times: dict[str, list[float]] = {"ours": [], "flower": []}
    for _ in range(REPEATS):
        times["ours"].append(_milliseconds(ours))
        if flower is not None:
            times["flower"].append(_milliseconds(flower))
    mine = statistics.median(times["ours"])
    if flower is None:
        return f"{rule:<17} {mine:6.0f} ms"
    other = statistics.median(times["flower"])
    return f"{rule:<17} {mine:6.0f} ms   flower {other:6.0f} ms   ratio {other / mine:5.1f} x"


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def _ours(folder: Path, rule: str) -> Callable[[], object]:
    from clientagent.wire.plan import Strategy
    from clientagent.wire.strategies import server_layout
    from rounds.algorithms.blocks import RoundFiles, Sink, aggregate
    from rounds.algorithms.files import FlatFile, StateFile, Uploads
    from rounds.algorithms.registry import strategy_named
    from rounds.algorithms.strategy import Facts

    uploads = Uploads([folder / f"{i + 1}.bin" for i in range(BANKS)], {"update": 0})
    alike, ones = np.full(BANKS, 1 / BANKS), np.ones(BANKS)
    facts = Facts(Strategy(name=rule), alike, alike, ones, ones, ones, 1, BANKS, 0.01)
    layout = server_layout(rule, PARAMETERS)
    state = StateFile(layout, None) if layout else None
    files = RoundFiles(FlatFile(folder / "0.bin", 0), uploads, PARAMETERS, state)

    def work() -> None:
        with (folder / "result.bin").open("wb") as result:
            aggregate(strategy_named(rule), facts, files, Sink(result.write))

    return work


def _flowers(updates: list[np.ndarray]) -> dict[str, Callable[[], object]]:
    if not importlib.util.find_spec("flwr"):
        return {}
    from flwr.server.strategy import aggregate as flower  # type: ignore[import-not-found]

    results = [([update], 100) for update in updates]
    return {
        "median": lambda: flower.aggregate_median(results),
        "trimmed_mean": lambda: flower.aggregate_trimmed_avg(results, 0.05),
        "krum": lambda: flower.aggregate_krum(results, 1, 0),
        "multikrum": lambda: flower.aggregate_krum(results, 1, BANKS - 1),
    }
