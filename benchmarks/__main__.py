"""``python -m benchmarks [NAME ...]``: run the named benchmarks, or all; print their rows and keep them in RESULTS.md."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import aggregation, masked, orchestration, private, robust, sync_and_async, training, upload, waiting

BENCHMARKS: dict[str, Callable[[], Iterator[str]]] = {
    "aggregation": aggregation.run, "orchestration": orchestration.run, "large": orchestration.run_large,
    "robust": robust.run, "masked": masked.run, "async": sync_and_async.run, "training": training.run,
    "private": private.run, "upload": upload.run, "waiting": waiting.run,
}
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = "# Results\n\nWritten by `make bench`. With a load average above the number of cores, times say more about the others.\n"


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        rows, load = [], os.getloadavg()[0]
        for row in BENCHMARKS[name]():
            print(row, flush=True)
            rows.append(row)
        _keep(name, rows, load)
    return 0


def _keep(name: str, rows: list[str], load: float) -> None:
    """The newest figures of each benchmark stand in RESULTS.md, with what they were taken on."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    taken = f"`python -m benchmarks {name}`, {when} UTC, {machine}; load average before it: {load:.1f}"
    figures = "\n".join(rows)
    sections = _sections() | {name: f"{taken}\n\n```\n{figures}\n```\n"}
    RESULTS.write_text(HEAD + "".join(f"\n## {title}\n\n{body}" for title, body in sections.items()))


def _sections() -> dict[str, str]:
    if not RESULTS.exists():
        return {}
    _, *parts = RESULTS.read_text().split("\n## ")
    return {title: body.rstrip("\n") + "\n" for title, _, body in (part.partition("\n\n") for part in parts)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
