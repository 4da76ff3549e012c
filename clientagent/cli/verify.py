"""``fedagent verify``: a downloaded history, checked offline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from clientagent.cli.options import JsonOption
from clientagent.cli.output import care, facts, good, print_json


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A run's history, downloaded from the portal.")],
    portal_key: Annotated[
        str, typer.Option("--portal-key", metavar="FINGERPRINT", help="The portal's fingerprint, as you know it from elsewhere.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a run's history offline.

    Names the first bad entry. Needs neither the portal nor an enrolment.
    """
    from clientagent.verify import verify_history
    from clientagent.wire.signing import short

    verified = verify_history(file.read_bytes(), portal_key=portal_key or None)
    if as_json:
        print_json({"verified": True, "portal_key_compared": bool(portal_key), **asdict(verified)})
        return
    good(f"The history of run {verified.run} holds.")
    facts([
        ("Project", verified.project), ("Plan", verified.plan_hash), ("Rounds", verified.rounds),
        ("Updates accepted", verified.updates), ("Banks", ", ".join(verified.banks) or "none"),
        ("Entries", verified.entries), ("Head", f"{verified.head} (signed {verified.at_utc})"),
        ("Portal's fingerprint", short(verified.portal_key)),
    ])  # fmt: skip
    for remark in verified.remarks:
        care(remark)
    if not portal_key:
        care("Compare the portal's fingerprint with the one you know, or give it as --portal-key.")
