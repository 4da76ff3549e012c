"""``python -m benchmarks [NAME ...]``: run the named benchmarks, or all, and print their rows."""

from __future__ import annotations

import sys

from benchmarks import aggregation, orchestration

BENCHMARKS = {"aggregation": aggregation.run, "orchestration": orchestration.run}


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        print(f"no benchmark named {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        print(f"== {name}", flush=True)
        for row in BENCHMARKS[name]():
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
