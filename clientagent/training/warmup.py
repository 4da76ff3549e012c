"""Loads torch beside other work, because it takes seconds and round 1 should not wait for it.

Building the first optimiser loads as much again (torch._dynamo), so one is built. Whoever trains waits for the end of it: the
generator of random numbers is shared.
"""

from __future__ import annotations

import threading


class Warmup:
    """Call ``start`` as soon as training is foreseeable and ``finish`` before it."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=_load, name="warmup", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        self.start()
        if self._thread is not None:
            self._thread.join()


def _load() -> None:
    import torch

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
