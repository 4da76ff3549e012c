"""What a bank keeps from round to round for a strategy or a codec: written with each update, counted once that update was used.

Nothing is ever promoted or rolled back here: each update's vectors lie under the update's digest, and a round starts from those
of the update that its WorkOrder names. A lost round, a late update or a portal set back therefore need no repair.
"""

from __future__ import annotations

from pathlib import Path

from clientagent.files import write_atomic
from clientagent.wire.errors import OwnStateLost
from clientagent.wire.plan import Plan
from clientagent.wire.strategies import OWN_VECTORS, Vectors
from clientagent.wire.tensors import Layout, pack, unpack

UNREPLACEABLE = ("control", "gradient")
"""The portal's own vectors hold this bank's part of these: without them its next update would count twice."""


def own_layout(plan: Plan, parameters: int, uplink: int) -> Layout | None:
    """The vectors that this plan makes a bank keep: of the model's size, or the codec's residual of the uplink's; None: none."""
    shapes: dict[str, tuple[int, ...]] = {}
    if name := OWN_VECTORS.get(plan.strategy.name):
        shapes[name] = (parameters,)
    if plan.compression.codec == "topk":
        shapes["residual"] = (uplink,)
    return Layout(shapes) if shapes else None


class Memory:
    """The vectors of one run in a folder: a file for each update that may yet be used."""

    def __init__(self, folder: Path, layout: Layout | None) -> None:
        self._folder, self._layout = folder, layout

    def keep(self, update_digest: str, round_number: int, vectors: Vectors) -> None:
        """Before the update's first byte leaves."""
        if self._layout is not None:
            data = pack(self._layout.flatten(vectors), self._layout)
            write_atomic(self._path(update_digest, round_number), data)

    def recall(self, update_digest: str | None) -> Vectors:
        """The vectors of the update that was used last, empty before there is one; older ones are dropped.

        Raises ``OwnStateLost`` where they are gone and cannot be begun anew, ``Truncated`` and the like for a damaged file.
        """
        if self._layout is None or update_digest is None:
            return {}
        found = next(iter(self._folder.glob(f"*-{update_digest}.safetensors")), None)
        if found is None:
            if any(name in UNREPLACEABLE for name in self._layout.names):
                raise OwnStateLost(expected=f"the vectors kept with update {update_digest[:16]}", got="no such file")
            return {}
        for path in self._folder.glob("*.safetensors"):
            if _round_of(path) < _round_of(found):
                path.unlink(missing_ok=True)
        return self._layout.unflatten(unpack(found.read_bytes(), self._layout))

    def _path(self, update_digest: str, round_number: int) -> Path:
        return self._folder / f"{round_number:08d}-{update_digest}.safetensors"


def _round_of(path: Path) -> int:
    return int(path.name.partition("-")[0])
