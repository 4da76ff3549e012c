"""``fedagent leaktest``: attacks on our own updates, without protection and under a plan, on made-up customers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, care, facts, good, print_json, table
from clientagent.words import _, spoken

if TYPE_CHECKING:
    from clientagent.home import Home
    from clientagent.leakage.selftest import Progress
    from clientagent.wire.leakage import Finding, LeakTest
    from clientagent.wire.plan import Plan


@spoken
def leaktest(
    plan: Annotated[str, typer.Option("--plan", metavar="HASH|FILE", help=_("The plan to test; the default is an example."))] = "",
    rows: Annotated[int, typer.Option("--rows", min=20, max=5000, help=_("Made-up customers of a bank."))] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help=_("The same seed makes the same test."))] = 0,
    runs: Annotated[int, typer.Option("--runs", min=20, max=5000, help=_("Runs of the canary audit with and without it."))] = 200,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Attack what a plan would let out.

    Reads inputs off updates, inverts gradients, tells who was trained on, and audits epsilon with a canary: without protection
    and under the plan, side by side. Customers are made up, no portal is asked, nothing leaves this machine.
    """
    from clientagent.home import Home
    from clientagent.leakage.selftest import SelfTest

    chosen = _plan(Home(home), plan)
    with _bar(wanted=not as_json) as progress:
        test = SelfTest(chosen, rows=rows, seed=seed, runs=runs).run(progress)
    if as_json:
        print_json(test.model_dump(mode="json"))
    else:
        _print(chosen, test, example=not plan)


def _plan(home: Home, wish: str) -> Plan:
    from clientagent.cli.plans import known_or_fetched
    from clientagent.leakage.example import example_plan
    from clientagent.plan_file import read_plan

    if not wish:
        return example_plan()
    if Path(wish).exists() or Path(wish).suffix:
        return read_plan(Path(wish))
    return known_or_fetched(home, wish)


def _print(plan: Plan, test: LeakTest, *, example: bool) -> None:
    from clientagent.wire.leakage import ATTACKS, CAVEAT, MEASURES, UNPROTECTED, VERDICTS, protections

    facts([
        (_("Plan"), _("an example (--plan HASH or FILE tests yours)") if example else plan.hash),
        (_("Protections"), "; ".join(_(sentence) % values for sentence, values in protections(plan))),
        (_("Model"), _model(plan, test)),
        (_("Made up"), _("{rows} customers a bank, {inputs} inputs, seed {seed}", rows=test.rows, inputs=test.inputs, seed=test.seed)),
        (_("Stated epsilon"), _epsilon(test)),
    ])  # fmt: skip
    typer.echo()
    table([_("attack"), _("customers"), _("measure"), _("chance"), _("without"), _("with the plan")], [
        (
            _(ATTACKS[one.attack]), one.customers, _(MEASURES[one.attack]), _chance(one), f"{one.without:.2f}", f"{one.protected:.2f}",
        )
        for one in test.findings
    ])  # fmt: skip
    typer.echo()
    for one in test.findings:
        verdict = one.verdict(test.stated_epsilon)
        say = {"hidden": good, "leaks": bad, "broken": bad}.get(verdict, care)
        attack, told = _(ATTACKS[one.attack]), _(VERDICTS[verdict])
        say(_("{attack} ({customers} customers): {told}", attack=attack, customers=one.customers, told=told))
    typer.echo(f"\n{_(UNPROTECTED)}\n{_(CAVEAT)}")
    typer.echo(_("{seconds:.0f} s. With --json the result can be attached to the plan's page in the portal.", seconds=test.seconds))


def _model(plan: Plan, test: LeakTest) -> str:
    said = _("{family}, {weights} weights", family=plan.model.family, weights=test.parameters)
    return said + _(", narrowed for this test") if test.narrowed else said


def _epsilon(test: LeakTest) -> str:
    if test.stated_epsilon is None:
        return _("none")
    return _("epsilon {epsilon:.4g} at delta {delta:g}", epsilon=test.stated_epsilon, delta=test.delta)


def _chance(one: Finding) -> str:
    if one.ceiling is not None:
        return _("0 (at most {most:.2f})", most=one.ceiling)
    return f"{one.chance:.2f} ± {one.margin:.2f}"


@contextmanager
def _bar(*, wanted: bool) -> Iterator[Progress | None]:
    """Parts of the test that are done, on a terminal."""
    if not (wanted and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from clientagent.wire.leakage import ATTACKS

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(_("starting"), total=None)
        yield lambda attack, done, of: shown.update(task, description=_(ATTACKS[attack]), completed=done, total=of)
