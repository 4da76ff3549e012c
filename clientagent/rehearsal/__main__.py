"""``python -m clientagent.rehearsal``: what a rehearsal needs of tables, so that the portal's process reads none.

Results are JSON or YAML on standard output. A refusal is one line of JSON on standard error, exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

from clientagent.rehearsal import draft, generate, knowledge, reference, split
from clientagent.wire.errors import Refusal


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="clientagent.rehearsal", description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (draft, generate, knowledge, reference, split):
        name = module.__name__.rpartition(".")[2]
        summary = (module.__doc__ or "").splitlines()[0]
        module.add_arguments(commands.add_parser(name, help=summary, description=summary))
    options = vars(parser.parse_args(argv))
    commands_of: dict[str, Callable[..., str]] = {
        "draft": draft.run, "generate": generate.run, "knowledge": knowledge.run, "reference": reference.run, "split": split.run,
    }  # fmt: skip
    try:
        sys.stdout.write(commands_of[options.pop("command")](**options))
    except Refusal as refusal:
        sys.stderr.write(json.dumps(refusal.problem()) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
