"""``fedagent check``: does the bank's table fit a plan?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, care, good, print_json

if TYPE_CHECKING:
    from clientagent.data import Finding, Report
    from clientagent.home import Home
    from clientagent.wire.plan import Plan


def check(
    plan: Annotated[str, typer.Option("--plan", metavar="HASH|FILE", help="One plan; the default is every known one.")] = "",
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help="The table; policy.toml's is the default.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check whether the bank's table fits.

    Names every problem with its column and reason. Nothing leaves this machine.
    """
    from clientagent.data import check_table
    from clientagent.home import Home
    from clientagent.policy import load_policy

    here = Home(home)
    results = []
    for one in _plans(here, plan):
        path = data or load_policy(here.policy_path).table_of(one.project, folder=here.path)
        report = check_table(one, path)
        results.append(_as_json(one, report))
        if not as_json:
            _print(one, report)
    if as_json:
        print_json(results)
    if not all(result["fits"] for result in results):
        raise typer.Exit(1)


def _plans(home: Home, wish: str) -> list[Plan]:
    from clientagent.cli.plans import known_or_fetched
    from clientagent.plan_file import read_plan
    from clientagent.wire.errors import NotFound

    if wish and (Path(wish).exists() or Path(wish).suffix):
        return [read_plan(Path(wish))]
    if wish:
        return [known_or_fetched(home, wish)]
    plans = [home.plan(plan_hash) for plan_hash in home.plan_hashes()]
    if not plans:
        raise NotFound(
            expected=f"a plan that the portal has sent to {home.path}", got="none yet",
            action="Name one: fedagent check --plan FILE --data FILE.",
        )
    return [plan for plan in plans if plan is not None]


def _print(plan: Plan, report: Report) -> None:
    typer.echo(f"Plan {plan.hash[:12]} of project {plan.project}, table {report.path}")
    if report.fits:
        good(f"The table fits: {report.rows} rows, {report.positives} of them positive.")
    for finding in report.problems:
        bad(finding.sentence)
    for finding in report.warnings:
        care(finding.sentence)


def _as_json(plan: Plan, report: Report) -> dict[str, Any]:
    return {
        "plan_hash": plan.hash, "project": plan.project, "path": str(report.path), "fits": report.fits, "rows": report.rows,
        "positives": report.positives, "unlabelled": report.unlabelled, "problems": [_finding(one) for one in report.problems],
        "warnings": [_finding(one) for one in report.warnings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"column": finding.column, "reason": finding.reason}
