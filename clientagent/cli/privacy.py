"""``fedagent privacy``: what plans have cost this bank's customers, and how to go on after a restored backup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, facts, good, print_json, table
from clientagent.words import _, mark, said, spoken

if TYPE_CHECKING:
    from clientagent.home import Home
    from clientagent.policy import Accept
    from clientagent.privacy.ledger import PrivacyLedger

app = typer.Typer(invoke_without_command=True, help=_("What was spent of the customers' privacy."), rich_markup_mode=None)


@app.callback()
def privacy(context: typer.Context, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        show(home, as_json)


@app.command("show")
@spoken
def show(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Epsilon of each lineage over all plans, and of the bank as a whole in each project: spent, set aside for open runs, bounds."""
    from clientagent.home import Home
    from clientagent.policy import load_policy

    here = Home(home)
    here.require_identity()
    accept = load_policy(here.policy_path).accept
    found = [_facts(ledger, accept) for ledger in _ledgers(here)]
    if as_json:
        print_json(found)
        return
    if not found:
        typer.echo(_("Nothing was spent: no plan with differential privacy has run here."))
    for one in found:
        facts([
            (_("Project, the bank as a whole"), one["project"]) if one["project"] else (_("Lineage"), one["lineage"]),
            (_("Spent"), _epsilon(one)), (_("With open runs"), f"epsilon {one['epsilon_promised']:.4g}"), (_("Bound"), _bound(one)),
            *([(_("Project's budget"), f"epsilon {one['project_budget']:g}")] if one["project_budget"] is not None else []),
            (_("Entries"), _("{entries}, reconciled {epoch} times", entries=one["entries"], epoch=one["epoch"])),
        ])  # fmt: skip
        table([_("run"), _("project"), "epsilon", _("of"), _("updates"), _("state")], [
            (run["run"][:8], run["project"], f"{run['epsilon']:.4g}", f"{run['allowed']:g}", run["updates"], _(run["state"]))
            for run in one["runs"]
        ])  # fmt: skip
        if one["locked"]:
            bad(_("Locked: {locked}", locked=said(one["locked"])))
            typer.echo(_("  Compare both sides, then: fedagent privacy reconcile --lineage NAME --reason TEXT"))


@app.command("reconcile")
@spoken
def reconcile(
    lineage: Annotated[str, typer.Option(
        "--lineage", metavar="NAME", help=_("The lineage that policy.toml names, or project:NAME for the bank as a whole.")
    )],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help=_("What was compared and found."))],
    home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Go on after the ledger was locked: what the portal saw leave and this bank forgot is charged. Stop the agent first.

    An administrator confirms the reconciliation at the portal, on the project's page.
    """
    from clientagent.home import Home
    from clientagent.portal import Portal
    from clientagent.privacy.desk import ledger_of
    from clientagent.transport import Transport
    from clientagent.wire.errors import Malformed

    if not reason.strip():
        raise Malformed(expected="--reason with a sentence", got="nothing", action="Say what was compared and found.")
    here = Home(home)
    identity = here.require_identity()
    with here.locked():
        ledger = ledger_of(here, lineage)
        transport = Transport(identity.portal, here.key)
        try:
            position = Portal(transport, here).privacy(lineage)
        finally:
            transport.close()
        known = {name for run in ledger.book.runs.values() for name, (_, left) in run.releases.items() if left}
        charged = [spent for spent in position.releases if spent.event.release not in known]
        ledger.reconcile(by=identity.name, reason=reason.strip(), charged=charged)
    result = {"lineage": lineage, "charged": len(charged), "epoch": ledger.book.epoch, "epsilon": ledger.book.epsilon()}
    if as_json:
        print_json(result)
        return
    spent = result["epsilon"]
    good(_("Reconciled: {n} forgotten releases are charged; epsilon {epsilon:.4g} is spent.", n=len(charged), epsilon=spent))
    typer.echo(_("Ask an administrator to confirm it on the project's page, then start the agent."))


def _ledgers(home: Home) -> list[PrivacyLedger]:
    from clientagent.privacy.desk import ledger_of
    from clientagent.privacy.ledger import lineages

    return [ledger_of(home, lineage) for lineage in lineages(home.privacy_path)]


def _epsilon(one: dict[str, Any]) -> str:
    return _("epsilon {epsilon:.4g} at delta {delta:g}", epsilon=one["epsilon"], delta=one["delta"])


def _bound(one: dict[str, Any]) -> str:
    if one["budget"] is not None:
        return f"epsilon {one['budget']:g}"
    return _("none (max_institution_epsilon in policy.toml)") if one["project"] else _("none (max_record_epsilon in policy.toml)")


def _facts(ledger: PrivacyLedger, accept: Accept) -> dict[str, Any]:
    book, lock, seen = ledger.book, ledger.lock, ledger.seen
    is_whole = ledger.unit == "institution"
    budget = accept.max_institution_epsilon if is_whole else accept.max_record_epsilon
    return {
        "lineage": ledger.lineage, "project": ledger.subject if is_whole else "",
        "project_budget": seen.budget if seen else None, "epsilon": book.epsilon(), "epsilon_promised": book.epsilon_with(),
        "delta": book.delta, "budget": budget, "entries": ledger.seq, "epoch": book.epoch,
        "locked": f"expected {lock.expected}, got {lock.got}" if lock else "",
        "runs": [
            {
                "run": run, "project": one.allotted.project, "epsilon": one.epsilon, "allowed": one.allotted.epsilon,
                "delta": one.allotted.delta, "updates": one.updates, "state": mark("closed") if one.closed else mark("open"),
            }
            for run, one in book.runs.items()
        ],
    }  # fmt: skip
