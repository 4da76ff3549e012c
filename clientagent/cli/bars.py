"""The work of the moment as one bar on a terminal; where there is no terminal, nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clientagent.words import _, mark

if TYPE_CHECKING:
    from clientagent.progress import Watch
    from clientagent.wire.messages import Progress


PHASES = (mark("pulled"), mark("training"), mark("uploading"))


@contextmanager
def bars(*, wanted: bool) -> Iterator[Watch | None]:
    """What to call with each step, or None where nobody looks."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(_("waiting for work"), total=None)

        def watch(progress: Progress) -> None:
            done, total = _share(progress)
            shown.update(task, description=_("round {n}: {phase}", n=progress.round, phase=_(progress.phase)), completed=done, total=total)

        yield watch


def _share(progress: Progress) -> tuple[int, int | None]:
    """(done, of how many) of the phase; None where it has no measure."""
    if progress.phase == "uploading" and progress.bytes_total:
        return progress.bytes_sent, progress.bytes_total
    if progress.phase == "training" and progress.batches:
        return max(progress.epoch - 1, 0) * progress.batches + progress.batch, progress.epochs * progress.batches
    return 0, None
