"""How results and refusals are printed: for people in columns, for programs as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from clientagent.wire.errors import Problem
from clientagent.words import _, pad, said, width


def wants_json() -> bool:
    """Whether the command line asked for JSON; for refusals, which may come before a command has read its options."""
    return "--json" in sys.argv[1:]


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def complain(problem: Problem, *, as_json: bool) -> None:
    """What was refused, what was expected, what came, what to do."""
    if as_json:
        print_json(problem)
        return
    typer.secho(_("Refused: {code}", code=problem["code"]), fg=typer.colors.RED, bold=True, err=True)
    for name, text in ((_("expected"), problem["expected"]), (_("got"), problem["got"]), (_("what to do"), problem["action"])):
        if text:
            typer.echo(f"  {pad(name + ':', 12)}{said(text)}", err=True)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values in two columns; a value without a name belongs to the one above."""
    rows = [(f"{name}:" if name else "", str(value)) for name, value in pairs]
    widest = max((width(name) for name, value in rows), default=0)
    for name, value in rows:
        typer.echo(f"{pad(name, widest + 1)}{value}".rstrip())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns; nothing is cut, so that a pipe gets whole values."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(width(line[i]) for line in [list(columns), *texts]) for i in range(len(columns))]
    typer.secho("  ".join(pad(name, most) for name, most in zip(columns, widths, strict=True)).rstrip(), bold=True)
    for line in texts:
        typer.echo("  ".join(pad(cell, most) for cell, most in zip(line, widths, strict=True)).rstrip())


def good(text: str) -> None:
    typer.secho(f"✓ {text}", fg=typer.colors.GREEN)


def care(text: str) -> None:
    typer.secho(f"! {text}", fg=typer.colors.YELLOW)


def bad(text: str) -> None:
    typer.secho(f"✗ {text}", fg=typer.colors.RED)
