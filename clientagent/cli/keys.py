"""``fedagent keys``: the fingerprints that people compare."""

from __future__ import annotations

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import facts, print_json
from clientagent.words import _, spoken


@spoken
def keys(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the fingerprints that people compare."""
    from clientagent.home import Home
    from clientagent.wire.signing import short

    here = Home(home)
    identity = here.require_identity()
    agent, portal = here.key.fingerprint, identity.root.fingerprint
    if as_json:
        public = here.key.public.text
        print_json({"agent": agent, "agent_public_key": public, "portal": portal, "portal_public_key": identity.root_key})
        return
    facts([(_("This agent's key"), short(agent)), ("", agent), (_("The portal's key"), short(portal)), ("", portal)])
