"""``fedagent plans``: what is asked of this bank, and the bank's word on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import care, facts, good, print_json, table
from clientagent.words import _, mark, said, spoken

if TYPE_CHECKING:
    from clientagent.approval import ApprovalDesk
    from clientagent.home import Home
    from clientagent.plugins import Plugin
    from clientagent.privacy.outlook import Outlook
    from clientagent.wire.messages import Decision
    from clientagent.wire.plan import Plan

ABOUT = _("List, show, approve or refuse plans; list the plugins that they may name.")
app = typer.Typer(invoke_without_command=True, help=ABOUT, rich_markup_mode=None)
WORDS = (mark("approved"), mark("refused"), mark("pending"), mark("none"), mark("policy"), mark("hand"), mark("portal"))
HashArgument = Annotated[str, typer.Argument(metavar="HASH", help=_("The plan's hash, or its first 6 digits or more."))]


@app.callback()
def plans(context: typer.Context, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    if context.invoked_subcommand is None:
        list_plans(home, as_json)


@app.command("list")
@spoken
def list_plans(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """The plans that the portal has shown this bank."""
    from clientagent.home import Home

    rows = list(_rows(Home(home)))
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(_("No plan yet. A plan comes with the first request of the portal, while 'fedagent run' is running."))
    else:
        table([_("hash"), _("project"), _("family"), _("strategy"), _("rounds"), _("decision"), _("by"), _("reason")], [
            (row["hash"][:12], row["project"], row["family"], row["strategy"], row["rounds"], _(row["decision"]), _(row["by"]),
             said(row["reason"])) for row in rows
        ])  # fmt: skip


@app.command("show")
@spoken
def show(plan_hash: HashArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """What a plan would do, in words and in full."""
    from clientagent.home import Home

    here = Home(home)
    plan = known_or_fetched(here, plan_hash)
    stored = here.decision(plan.hash)
    whole, budgets = {"plan": plan.model_dump(mode="json")}, _outlooks(here, plan)
    if as_json:
        decision = stored.said.model_dump() if stored else None
        print_json({"plan_hash": plan.hash, "decision": decision, "privacy": [asdict(one) for one in budgets], **whole})
        return
    facts([
        (_("Hash"), plan.hash), (_("Project"), plan.project), (_("Purpose"), plan.purpose),
        (_("Banks"), ", ".join(plan.participants)), (_("Features"), len(plan.features)),
        (_("Label"), f"{plan.label.name} = {plan.label.positive}"),
        *_model(plan), (_("Rounds"), plan.schedule.rounds), (_("Strategy"), plan.strategy.name),
        (_("Fewest banks behind a total"), plan.privacy.min_banks), (_("Fewest customers in a cell"), plan.privacy.min_cell),
        *((_("Privacy"), _told(one)) for one in budgets),
        (_("Decision"), _word(stored.said) if stored else _("none yet")),
    ])  # fmt: skip
    print_json(whole)


def _outlooks(home: Home, plan: Plan) -> list[Outlook]:
    """Nothing for a plan without differential privacy, nor where the accountant is not installed: then the plan cannot run here either."""
    from clientagent.policy import load_policy
    from clientagent.privacy.outlook import outlooks
    from clientagent.wire.errors import PlanUnsupported

    try:
        return outlooks(home, plan, load_policy(home.policy_path))
    except PlanUnsupported:
        return []


def _told(one: Outlook) -> str:
    whose = _("the bank as a whole") if one.unit == "institution" else _("customers of {lineage}", lineage=one.subject)
    bound = _("no bound is set") if one.bound is None else _("the bound is {bound:g}", bound=one.bound)
    told = _(
        "{whose}: epsilon {now:.4g}, with a run of this plan {after:.4g}; {bound}", whose=whose, now=one.now, after=one.after, bound=bound
    )
    if one.locked:
        return told + _("; the ledger is locked")
    return told if one.fits else told + _("; too much: this bank would decline")


def _model(plan: Plan) -> Iterator[tuple[str, object]]:
    from clientagent.plugins import require_installed
    from clientagent.wire.errors import PlanUnsupported

    yield _("Model"), plan.model.family
    if plan.model.is_plugin:
        try:
            yield _("Plugin"), _("installed here as {package}", package=require_installed(plan).package)
        except PlanUnsupported as error:
            yield _("Plugin"), said(error.sentence)


def _word(word: Decision) -> str:
    return _("{decision} by {by}. {reason}", decision=_(word.decision), by=_(word.by), reason=said(word.reason))


@app.command("plugins")
@spoken
def plugins(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help=_("One of them: prints the model section of a plan for it."))] = "",
    as_json: JsonOption = False,
) -> None:
    """The models that this bank installed itself, each with the hash of its source; a plan names it so."""
    from clientagent.plugins import GROUP, installed

    found = [plugin for plugin in installed() if plugin.name == name or not name]
    if name:
        return _print_section(found, name, as_json)
    if as_json:
        print_json([{"family": one.family, "name": one.name, "hash": one.hash, "package": one.package, "problem": one.problem}
                    for one in found])  # fmt: skip
    elif not found:
        typer.echo(_("No plugin is installed. One is an entry point of the group {group}.", group=GROUP))
    else:
        table([_("name"), _("hash"), _("package"), ""], [(one.name, one.hash, one.package, one.problem) for one in found])


def _print_section(found: list[Plugin], name: str, as_json: bool) -> None:
    from clientagent.plugins import tensors_of
    from clientagent.wire.errors import NotFound

    if not found or not found[0].hash:
        got = found[0].problem if found else "none of this name"
        raise NotFound(expected=f"an installed plugin {name}", got=got, action="'fedagent plans plugins' lists them.")
    tensors = tensors_of(found[0])
    if as_json:
        print_json({"family": found[0].family, "tensors": tensors})
        return
    typer.echo(f"model:\n  family: {found[0].family}\n  tensors:")
    for tensor in tensors:
        shape = ", ".join(map(str, tensor["shape"]))
        typer.echo(f"  - {{name: {tensor['name']}, shape: [{shape}], start: {tensor['start']}}}")


@app.command("approve")
@spoken
def approve(plan_hash: HashArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Let this agent run a plan. The word holds for this very hash: a changed plan has another one."""
    _say(home, plan_hash, "approved", "", as_json)


@app.command("refuse")
@spoken
def refuse(
    plan_hash: HashArgument,
    reason: Annotated[str, typer.Option("--reason", help=_("Why; the portal and the auditor will read it."))],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Do not run a plan, and say why."""
    _say(home, plan_hash, "refused", reason, as_json)


@app.command("reopen")
@spoken
def reopen(
    run: Annotated[str, typer.Argument(metavar="RUN", help=_("The run's id, as 'fedagent status' shows it."))],
    version: Annotated[int, typer.Argument(metavar="VERSION", min=0, help=_("The base version whose sum was opened before."))],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Consent to opening one more masked sum of a version. Two sums over different banks may tell what one bank sent."""
    from clientagent.approval import utc_now
    from clientagent.home import Home
    from clientagent.runs import Consent
    from clientagent.wire.errors import NotFound

    folder = Home(home).run(run)
    if folder.pinned is None and folder.statistics is None:
        raise NotFound(expected="a run of this bank", got=run, action="'fedagent status' lists this bank's runs.")
    consent = Consent(version=version, at_utc=utc_now())
    folder.consent_to_reopen(version, consent)
    if as_json:
        print_json(consent.model_dump())
    else:
        good(_("Run {run}: this agent may help to open one more sum of version {version}.", run=run[:8], version=version))


def _say(home: object, wish: str, decision: str, reason: str, as_json: bool) -> None:
    from clientagent.home import Home
    from clientagent.policy import load_policy

    here = Home(str(home))
    plan = known_or_fetched(here, wish)
    with _desk(here) as desk:
        word = desk.say_by_hand(plan.hash, decision, reason)
    if as_json:
        print_json(word.model_dump())
        return
    good(_("Plan {hash}: {decision}. The portal has it in writing.", hash=plan.hash[:12], decision=_(word.decision)))
    if word.decision == "approved" and plan.project not in load_policy(here.policy_path).data:
        care(_("policy.toml names no table for project {project}; without one the data do not fit.", project=plan.project))


def known_or_fetched(home: Home, wish: str) -> Plan:
    """A plan by its hash or the beginning of it; a whole hash that is not known yet is fetched."""
    if len(wish) == 64 and home.plan(wish.lower()) is None:
        with _desk(home) as desk:
            return desk.fetch(wish.lower())
    return home.require_plan(home.resolve_hash(wish))


@contextmanager
def _desk(home: Home) -> Iterator[ApprovalDesk]:
    from clientagent.approval import ApprovalDesk
    from clientagent.portal import Portal
    from clientagent.transport import Transport

    identity = home.require_identity()
    transport = Transport(identity.portal, home.key)
    try:
        yield ApprovalDesk(home, Portal(transport, home))
    finally:
        transport.close()


def _rows(home: Home) -> Iterator[dict[str, str]]:
    for plan_hash in home.plan_hashes():
        plan, stored = home.plan(plan_hash), home.decision(plan_hash)
        if plan is not None:
            yield {
                "hash": plan_hash, "project": plan.project, "family": plan.model.family, "strategy": plan.strategy.name,
                "rounds": str(plan.schedule.rounds), "decision": stored.said.decision if stored else "none",
                "by": stored.said.by if stored else "", "reason": stored.said.reason if stored else "",
            }  # fmt: skip
