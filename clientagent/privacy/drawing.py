"""What chance gives a private step: its rows, by Poisson sampling, and its noise; for several steps at once where they are few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clientagent.wire.privacy.stream import Floats, Stream

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]
TOGETHER = 1 << 16
"""Values that are drawn at once: within a core's cache."""


@dataclass(frozen=True)
class Draws:
    """The rows of some steps one after the other; those of step i end before ``ends[i]``."""

    rows: Rows
    ends: list[int]

    def each(self) -> Iterator[Rows]:
        start = 0
        for end in self.ends:
            yield self.rows[start:end]
            start = end

    def at_most(self, count: int) -> Iterator[Draws]:
        """The same steps, together so far as they have at most ``count`` rows; a longer step stands alone."""
        start, ends = 0, list[int]()
        for end in self.ends:
            if ends and end - start > count:
                yield Draws(self.rows[start : start + ends[-1]], ends)
                start, ends = start + ends[-1], []
            ends.append(end - start)
        if ends:
            yield Draws(self.rows[start:], ends)


def draw(rows: int, sampling_rate: float, stream: Stream) -> Rows:
    """Poisson sampling: each row by itself, with the chance ``sampling_rate`` (2**-32 less at most, which costs no privacy).

    Often another number of rows, perhaps none.
    """
    if sampling_rate >= 1:
        return np.arange(rows)
    return np.flatnonzero(stream.words32(rows) < np.uint32(sampling_rate * 2**32))


def draw_steps(steps: int, rows: int, sampling_rate: float, stream: Stream) -> Iterator[Draws]:
    """``draw`` so many times, from the same words; several steps' words are drawn at once where rows are few."""
    if sampling_rate >= 1 or not rows:
        yield from (Draws(np.arange(rows), [rows]) for _ in range(steps))
        return
    threshold = np.uint32(sampling_rate * 2**32)
    for count in _chunks(steps, rows):
        drawn = np.flatnonzero(stream.words32(count * rows) < threshold)
        ends = np.searchsorted(drawn, np.arange(1, count + 1) * rows)
        drawn %= rows
        yield Draws(drawn, ends.tolist())


def noise_steps(steps: int, deviation: Floats, stream: Stream) -> Iterator[Floats]:
    """Noise (parameters,) of these standard deviations for each step, fresh in each; several steps' at once in a small model."""
    for count in _chunks(steps, len(deviation)):
        yield from stream.gaussian(count * len(deviation)).reshape(count, -1) * deviation


def _chunks(steps: int, values: int) -> Iterator[int]:
    """Steps that are drawn together: as many as fit in ``TOGETHER`` values, and one at least."""
    most = max(TOGETHER // max(values, 1), 1)
    for start in range(0, steps, most):
        yield min(most, steps - start)
