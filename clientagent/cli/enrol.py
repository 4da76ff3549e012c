"""``fedagent enrol``: introduce this agent to a portal."""

from __future__ import annotations

from typing import Annotated

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import facts, good, print_json
from clientagent.words import _, spoken


@spoken
def enrol(
    url: Annotated[str, typer.Argument(metavar="URL", help=_("The portal's address, such as https://portal.example."))],
    code: Annotated[str, typer.Option("--code", help=_("The code that the administrator gave you; it works once."))],
    name: Annotated[str, typer.Option("--name", help=_("What to call this agent; the machine's name is the default."))] = "",
    wait: Annotated[bool, typer.Option("--wait", help=_("Wait until the administrator has approved."))] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Introduce this agent to a portal.

    Makes a key on this machine, shows the code, and pins the portal's root key.
    """
    from clientagent import enrolment
    from clientagent.home import Home
    from clientagent.wire.signing import short

    here = Home(home)
    identity = enrolment.enrol(here, url=url, code=code, name=name)
    if not as_json:
        good(_("This agent is enrolled for {bank} at {portal}.", bank=identity.institution_name, portal=identity.portal))
        facts([
            (_("This agent's fingerprint"), short(identity.key_fingerprint)),
            (_("The portal's fingerprint"), short(identity.root.fingerprint)),
            (_("The agent's directory"), here.path),
            (_("The agent's policy"), here.policy_path),
        ])
    if wait:
        if not as_json:
            typer.echo(_("Waiting until the administrator has compared the fingerprints and approved (Ctrl-C ends the waiting) ..."))
        identity = enrolment.wait_for_approval(here)
    if as_json:
        print_json({**identity.model_dump(), "portal_fingerprint": identity.root.fingerprint, "home": str(here.path)})
    elif identity.state == "approved":
        good(_("Approved. Next: name your table in policy.toml, then 'fedagent doctor' and 'fedagent run'."))
    else:
        typer.echo(_("Next: read the administrator this agent's fingerprint; meanwhile name your table in policy.toml."))
