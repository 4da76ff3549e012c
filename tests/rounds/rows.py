"""A round's files and facts from plain lists of numbers, and what becomes of them. No database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clientagent.wire.plan import Strategy as StrategyPart
from clientagent.wire.strategies import server_layout
from rounds.algorithms.blocks import RoundFiles, Sink, aggregate
from rounds.algorithms.files import FlatFile, StateFile, StateWriter, Uploads
from rounds.algorithms.geometry import Geometry
from rounds.algorithms.registry import strategy_named
from rounds.algorithms.strategy import Facts

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Next:
    """The next version's weights, the difference to the base, the server's next vectors and the geometry."""

    weights: NDArray[np.float32]
    difference: Numbers
    state: dict[str, Numbers]
    state_path: Path | None
    geometry: Geometry


def facts_of(strategy: StrategyPart, banks: int, **known: Any) -> Facts:
    """Equal banks in round 1, but for what is given."""
    alike = np.full(banks, 1 / banks)
    arrays = {
        "weights": alike, "shares": known.get("weights", alike), "rows": np.full(banks, 100.0), "steps": np.full(banks, 10.0),
        "losses": np.full(banks, 0.5),
    }
    arrays.update({name: np.asarray(known.pop(name), np.float64) for name in arrays if name in known})
    plain = {"round": 1, "participants": banks, "learning_rate": 0.1, **known}
    return Facts(strategy=strategy, **arrays, **plain)


def next_of(
    folder: Path, name: str, updates: ArrayLike, *, base: ArrayLike | None = None, state: Path | None = None,
    extra: dict[str, ArrayLike] | None = None, known: dict[str, Any] | None = None, **numbers: Any,
) -> Next:
    """Run one round. ``numbers``: the plan's; ``known``: the round's facts; ``extra``: vectors beside the updates."""
    vectors = {"update": np.asarray(updates, np.float32)}
    vectors |= {key: np.asarray(x, np.float32) for key, x in (extra or {}).items()}
    if name == "newton":
        del vectors["update"]
    banks = len(next(iter(vectors.values())))
    start = np.zeros(vectors.get("update", vectors.get("gradient")).shape[1]) if base is None else base
    start = np.asarray(start, "<f4")
    offsets, at = {}, 0
    for key, rows in vectors.items():
        offsets[key], at = at, at + 4 * rows.shape[1]
    paths = [folder / f"update-{k}" for k in range(banks)]
    for k, path in enumerate(paths):
        path.write_bytes(b"".join(rows[k].astype("<f4").tobytes() for rows in vectors.values()))
    (folder / "base").write_bytes(start.tobytes())
    layout = server_layout(name, len(start))
    target = folder / f"state-{name}-{len(list(folder.iterdir()))}"
    writer = StateWriter(layout, target) if layout else None
    written: list[bytes] = []
    files = RoundFiles(
        FlatFile(folder / "base", 0), Uploads(paths, offsets), len(start), StateFile(layout, state) if layout else None
    )
    strategy = StrategyPart(name=name, **numbers)
    geometry = aggregate(strategy_named(name), facts_of(strategy, banks, **(known or {})), files, Sink(written.append, writer))
    if writer:
        writer.close()
    weights = np.frombuffer(b"".join(written), "<f4")
    kept = {key: StateFile(layout, target).whole(key) for key in layout.names} if layout else {}
    return Next(weights, weights.astype(np.float64) - start, kept, target if layout else None, geometry)
