"""Robust rules on 20 updates of a million parameters, in turn with Flower's where it is found; medians of 5, CPU time.

Ours read the updates from disk and write the version; Flower's work on arrays that are already there. Each side is one process
that does a rule each time it is told to.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.peers import NO_FLOWER, flower_python
from rounds.rehearsal.tools import ONE_THREAD

BANKS, PARAMETERS, REPEATS = 20, 1_000_000, 5
RULES = ("median", "trimmed_mean", "krum", "multikrum", "geometric_median", "centred_clipping", "norm_bound")
COMPARED = {"median", "trimmed_mean", "krum"}
TARGET = 4
Work = Callable[[], object]


def run() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _write_updates(folder)
        ours = stack.enter_context(_Side("ours", sys.executable, folder))
        python = flower_python()
        flower = stack.enter_context(_Side("flower", python, folder)) if python else None
        for rule in RULES:
            yield _row(rule, ours, flower if flower and rule in flower.rules else None)
    if not python:
        yield NO_FLOWER


def _row(rule: str, ours: _Side, flower: _Side | None) -> str:
    mine, theirs = [], []
    for _ in range(REPEATS):
        mine.append(ours.milliseconds(rule))
        if flower:
            theirs.append(flower.milliseconds(rule))
    text = f"{rule:<17} {statistics.median(mine):6.0f} ms"
    if not flower:
        return text
    ratio, target = statistics.median(theirs) / statistics.median(mine), f" (target {TARGET})" if rule in COMPARED else ""
    return f"{text}   flower {statistics.median(theirs):6.0f} ms   ratio {ratio:5.1f} x{target}"


def _write_updates(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(BANKS + 1):
        update = 1e-3 * rng.standard_normal(PARAMETERS, np.float32) if i else np.zeros(PARAMETERS, np.float32)
        (folder / f"{i}.bin").write_bytes(update.astype(np.float32).tobytes())


class _Side:
    """A process of one side: told a rule, it says the milliseconds of processor that it took."""

    def __init__(self, side: str, python: str, folder: Path) -> None:
        self._name = side
        argv = [python, "-m", "benchmarks.robust", side, str(folder)]
        env = os.environ | (ONE_THREAD if side == "ours" else {})  # as the portal has it; the peer as it comes
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        )
        self.rules = self._said().split()

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def milliseconds(self, rule: str) -> float:
        assert self._process.stdin
        self._process.stdin.write(f"{rule}\n")
        self._process.stdin.flush()
        return float(self._said())

    def _said(self) -> str:
        """Its next line; what else it, or its libraries, may print is passed over."""
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError(f"{self._name} ended with {self._process.wait()} in the middle of the comparison")


def _obey(works: Mapping[str, Work]) -> None:
    print(">", *works, flush=True)
    for line in sys.stdin:
        began = time.process_time()
        works[line.strip()]()
        print(f"> {1000 * (time.process_time() - began)}", flush=True)


def _ours(folder: Path) -> dict[str, Work]:
    return {rule: _our_rule(folder, rule) for rule in RULES}


def _our_rule(folder: Path, rule: str) -> Work:
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


def _flower(folder: Path) -> dict[str, Work]:
    from flwr.server.strategy import aggregate as flower  # type: ignore[import-not-found]

    results = [([np.fromfile(folder / f"{i + 1}.bin", np.float32)], 100) for i in range(BANKS)]
    return {
        "median": lambda: flower.aggregate_median(results),
        "trimmed_mean": lambda: flower.aggregate_trimmed_avg(results, 0.05),
        "krum": lambda: flower.aggregate_krum(results, 1, 0),
        "multikrum": lambda: flower.aggregate_krum(results, 1, BANKS - 1),
    }


if __name__ == "__main__":
    _obey({"ours": _ours, "flower": _flower}[sys.argv[1]](Path(sys.argv[2])))
