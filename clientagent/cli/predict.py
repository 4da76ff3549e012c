"""``fedagent predict``: score a file with a verified model, with reasons. Nothing leaves this machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import good, print_json, table
from clientagent.words import _, mark, spoken

if TYPE_CHECKING:
    from clientagent.scoring.scorer import Prediction
    from clientagent.scoring.stored import StoredModel

SHOWN = 10
"""Customers that are shown where no file was asked for."""


class Language(StrEnum):
    en = "en"
    zh = "zh"


@spoken
def predict(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("The customers to score: CSV or Parquet."))],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help=_("Write every score here: .csv, .jsonl or .parquet."))] = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help=_("A stored model; the default is the newest."))] = "",
    project: Annotated[str, typer.Option("--project", metavar="SLUG", help=_("The newest model of this project."))] = "",
    personal: Annotated[bool, typer.Option("--personal", help=_("This bank's own model beside it, which ditto trains."))] = False,
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="COLUMN", help=_("A column to carry over; may be repeated."))] = None,
    reasons: Annotated[int, typer.Option("--reasons", min=0, max=20, help=_("At most so many reasons for each customer."))] = 4,
    language: Annotated[Language, typer.Option("--language", help=_("The language of the reasons."))] = Language.en,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Score customers with a model that this bank holds.

    Checks the model against the portal's signature and the bank's own acknowledgement first. For each customer: score,
    probability, the principal reasons against the average customer, and what would have to change. No row leaves.
    """
    from contextlib import nullcontext

    from clientagent.home import Home
    from clientagent.scoring.predictions import written
    from clientagent.scoring.reasons import read_wording
    from clientagent.scoring.scorer import Wish, open_scoring
    from clientagent.scoring.stored import load_model

    here, started = Home(home), time.monotonic()
    held = load_model(here, model, project=project, personal=personal)
    wish = Wish(tuple(ids or ()), reasons, language.value, read_wording(here.path / "reasons.toml"))
    scoring = open_scoring(held, file, wish)
    first: list[Prediction] = []
    rows, total = 0, 0.0
    with written(out, wish) if out else nullcontext() as writer, _bar() as bar:
        for block in scoring:
            if writer:
                writer.add(block)
            first += block[: max(SHOWN - len(first), 0)]
            rows, total = rows + len(block), total + sum(one.probability for one in block)
            bar.show(rows)
    seconds = time.monotonic() - started
    summary = _summary(held, file, out, rows, total / rows, seconds) | {"personal": personal}
    if as_json:
        from clientagent.scoring.predictions import as_json as plain

        print_json(summary | ({} if out else {"first": [plain(one, wish) for one in first]}))
    else:
        _print(summary, first, out)


def _summary(model: StoredModel, file: Path, out: Path | None, rows: int, mean: float, seconds: float) -> dict[str, Any]:
    from clientagent.scoring.attribution import STEPS

    linear = model.plan.model.family in ("logistic", "scorecard")
    method = "exact" if linear else f"integrated gradients, {STEPS} steps"
    return {
        "model": model.name, "digest": model.digest, "plan_hash": model.plan.hash, "project": model.plan.project,
        "file": str(file), "out": str(out) if out else None, "rows": rows, "mean_probability": round(mean, 6),
        "reasons": method, "baseline": mark("the average training customer of all banks, from the frozen preprocessing"),
        "seconds": round(seconds, 2),
    }  # fmt: skip


def _print(summary: dict[str, Any], first: list[Prediction], out: Path | None) -> None:
    if summary["personal"]:
        good(_("The personal model beside {model}: this bank trained it for itself, and nobody else has it.", model=summary["model"]))
    else:
        good(_("The model {model} is the one that the portal signed and this bank acknowledged.", model=summary["model"]))
    if not out:
        table([_("row"), _("score"), _("probability"), _("principal reason")], [
            (one.row, one.score, f"{one.probability:.4f}", one.reasons[0].text if one.reasons else "") for one in first
        ])  # fmt: skip
    rows, mean, seconds = summary["rows"], summary["mean_probability"], summary["seconds"]
    typer.echo(_("{rows} customers scored in {seconds:.1f} s, mean probability {mean:.4f}.", rows=rows, seconds=seconds, mean=mean))
    typer.echo(_("Reasons are against {baseline} ({reasons}).", baseline=_(summary["baseline"]), reasons=summary["reasons"]))
    typer.echo(_("Written to {out}.", out=out) if out else _("Name --out FILE to keep every score with its reasons."))


class _Bar(Protocol):
    def show(self, rows: int) -> None: ...


class _Silent:
    def show(self, rows: int) -> None:
        """Nobody looks."""


@contextmanager
def _bar() -> Iterator[_Bar]:
    """Customers scored so far, on a terminal."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True),
                  transient=True) as shown:  # fmt: skip
        task = shown.add_task(_("scoring"))

        class Shown:
            def show(self, rows: int) -> None:
                shown.update(task, description=_("{rows:,} customers scored", rows=rows))

        yield Shown()
