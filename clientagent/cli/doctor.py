"""``fedagent doctor``: which hop fails."""

from __future__ import annotations

from dataclasses import asdict

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import print_json
from clientagent.words import _, pad, said, spoken

MARKS = {
    "ok": ("✓", typer.colors.GREEN),
    "warning": ("!", typer.colors.YELLOW),
    "failed": ("✗", typer.colors.RED),
    "skipped": ("-", None),
}


@spoken
def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Name the hop that fails, and what to do."""
    from clientagent.doctor import Hop, examine
    from clientagent.home import Home

    hops: list[Hop] = []
    for hop in examine(Home(home)):
        hops.append(hop)
        if not as_json:
            mark, colour = MARKS[hop.outcome]
            typer.secho(f"{mark} {pad(_(hop.name), 17)}{said(hop.detail)}", fg=colour)
            if hop.action:
                typer.echo(f"  {'':<17}{said(hop.action)}")
    failed = next((hop.name for hop in hops if hop.outcome == "failed"), None)
    if as_json:
        print_json({"failed": failed, "hops": [asdict(hop) for hop in hops]})
    if failed:
        raise typer.Exit(1)
