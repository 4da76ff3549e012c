"""``fedagent verify``: a downloaded history, checked offline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clientagent.cli.options import JsonOption
from clientagent.cli.output import care, facts, good, print_json
from clientagent.words import _, spoken


@spoken
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("A run's history, downloaded from the portal."))],
    portal_key: Annotated[
        str, typer.Option("--portal-key", metavar="FINGERPRINT", help=_("The portal's fingerprint, as you know it from elsewhere."))
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a run's history offline.

    Names the first bad entry. Needs neither the portal nor an enrolment.
    """
    from clientagent.history.verify import verify_history
    from clientagent.wire.signing import short

    verified = verify_history(file.read_bytes(), portal_key=portal_key or None)
    if as_json:
        print_json({"verified": True, "portal_key_compared": bool(portal_key), **asdict(verified)})
        return
    good(_("The history of run {run} holds.", run=verified.run))
    facts([
        (_("Project"), verified.project), (_("Plan"), verified.plan_hash), (_("Rounds"), verified.rounds),
        (_("Updates accepted"), verified.updates), (_("Banks"), ", ".join(verified.banks) or _("none")),
        (_("Entries"), verified.entries), (_("Head"), _("{head} (signed {at_utc})", head=verified.head, at_utc=verified.at_utc)),
        (_("Portal's fingerprint"), short(verified.portal_key)),
    ])  # fmt: skip
    for remark in verified.remarks:
        care(remark)
    if not portal_key:
        care(_("Compare the portal's fingerprint with the one you know, or give it as --portal-key."))
