"""``fedagent check``: does the bank's table fit a plan, and has it moved since the plan's preprocessing was frozen?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, care, good, print_json, table
from clientagent.words import _, mark, said, spoken

if TYPE_CHECKING:
    from clientagent.data import Finding, Report
    from clientagent.home import Home
    from clientagent.wire.errors import Refusal
    from clientagent.wire.plan import Plan

VERDICTS = (mark("stable"), mark("watch"), mark("shifted"), mark("unknown"))


@spoken
def check(
    plan: Annotated[str, typer.Option("--plan", metavar="HASH|FILE", help=_("One plan; the default is every known one."))] = "",
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=_("The table; policy.toml's is the default."))] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check whether the bank's table fits, and the plan's plugin where it has one.

    Names every problem with its column and reason. Once a run has frozen its preprocessing, shows for each feature how far
    the table has moved since (population stability index). Nothing leaves this machine.
    """
    from clientagent.data import check_table
    from clientagent.home import Home
    from clientagent.plugins import problem_with
    from clientagent.policy import load_policy
    from clientagent.preparation.books import room_for

    here = Home(home)
    results = []
    for one in _plans(here, plan):
        policy = load_policy(here.policy_path)
        path = data or policy.table_of(one.project, folder=here.path)
        report = check_table(one, path, room=room_for(here, policy, one))
        drift = _drift(here, one, report)
        plugin = problem_with(one)
        results.append(_as_json(one, report) | {"plugin": plugin.problem() if plugin else None, "drift": drift})
        if not as_json:
            _print(one, report)
            _print_plugin(one, plugin)
            _print_drift(drift)
    if as_json:
        print_json(results)
    if not all(result["fits"] and result["plugin"] is None for result in results):
        raise typer.Exit(1)


def _print_plugin(plan: Plan, problem: Refusal | None) -> None:
    if problem is not None:
        bad(said(problem.sentence))
        typer.echo("  " + said(problem.action))
    elif plan.model.is_plugin:
        good(_("The plan's model {family} is installed here, with this hash and these weights.", family=plan.model.family))


def _drift(home: Home, plan: Plan, report: Report) -> dict[str, Any] | None:
    """How far the table has moved since the newest run of the plan; None before there is one."""
    from dataclasses import asdict

    from clientagent.preparation.drift import basis_of, drift_of

    basis = basis_of(home, plan.hash) if report.table else None
    if basis is None or report.table is None:
        return None
    return {"run": basis.run, "features": [asdict(one) | {"verdict": one.verdict} for one in drift_of(basis, report.table)]}


def _print_drift(drift: dict[str, Any] | None) -> None:
    if drift is None:
        return
    typer.echo(_("Since run {run} froze its preprocessing (PSI: below 0.1 stable, from 0.25 on shifted):", run=drift["run"][:8]))
    table([_("feature"), _("verdict"), _("PSI, own rows then"), _("PSI, all banks then"), _("missing"), _("then"), _("unknown")], [
        (one["feature"], _(one["verdict"]), _figure(one["own_psi"]), _figure(one["psi"]), _percent(one["missing"]),
         _percent(one["missing_then"]), _percent(one["unknown"])) for one in drift["features"]
    ])  # fmt: skip
    shifted = [one["feature"] for one in drift["features"] if one["verdict"] == "shifted"]
    unknown = [one["feature"] for one in drift["features"] if one["unknown"] > 0]
    if shifted:
        names = ", ".join(shifted)
        care(_("Shifted: {features}. Look for a change of definition or of customers before you trust new scores.", features=names))
    if unknown:
        care(_("Values that the model has never seen: {features}.", features=", ".join(unknown)))
    if not shifted and not unknown:
        good(_("No feature has shifted."))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


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
    typer.echo(_("Plan {hash} of project {project}, table {path}", hash=plan.hash[:12], project=plan.project, path=report.path))
    if report.fits:
        good(_("The table fits: {rows} rows, {positives} of them positive.", rows=report.rows, positives=report.positives))
    if report.table is not None and (store := report.table.store) is not None:
        typer.echo("  " + _(
            "It would take about {table} GiB of memory and may take {allowed}, so it is worked on from disk, in {folder}.",
            table=f"{store.table_bytes / 2**30:.1f}", allowed=f"{store.memory_bytes / 2**30:.1f}", folder=store.folder,
        ))  # fmt: skip
    elif report.fits:
        typer.echo("  " + _("It is worked on in memory."))
    for finding in report.problems:
        bad(said(finding.sentence))
    for finding in report.warnings:
        care(said(finding.sentence))


def _as_json(plan: Plan, report: Report) -> dict[str, Any]:
    from_disk = report.table is not None and report.table.store is not None
    return {
        "plan_hash": plan.hash, "project": plan.project, "path": str(report.path), "fits": report.fits, "rows": report.rows,
        "positives": report.positives, "unlabelled": report.unlabelled, "from_disk": from_disk,
        "problems": [_finding(one) for one in report.problems],
        "warnings": [_finding(one) for one in report.warnings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"column": finding.column, "reason": finding.reason}
