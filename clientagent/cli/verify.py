"""``fedagent verify``: a downloaded history, checked offline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clientagent.cli.options import JsonOption
from clientagent.cli.output import bad, care, facts, good, print_json, table
from clientagent.words import _, spoken

if TYPE_CHECKING:
    from clientagent.history.spending import Spent


@spoken
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=_("A run's history, downloaded from the portal."))],
    portal_key: Annotated[
        str, typer.Option("--portal-key", metavar="FINGERPRINT", help=_("The portal's fingerprint, as you know it from elsewhere."))
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a run's history offline.

    Names the first bad entry, and computes what the run has cost in privacy anew. Needs neither the portal nor an enrolment.
    """
    from clientagent.history.verify import verify_history
    from clientagent.wire.signing import short

    verified = verify_history(file.read_bytes(), portal_key=portal_key or None)
    if as_json:
        privacy = [{**asdict(one), "holds": one.holds} for one in verified.privacy]
        print_json({"verified": True, "portal_key_compared": bool(portal_key), **asdict(verified), "privacy": privacy})
        raise typer.Exit(0 if verified.spent_as_stated else 1)
    good(_("The history of run {run} holds.", run=verified.run))
    facts([
        (_("Project"), verified.project), (_("Plan"), verified.plan_hash), (_("Rounds"), verified.rounds),
        (_("Updates accepted"), verified.updates), (_("Banks"), ", ".join(verified.banks) or _("none")),
        (_("Entries"), verified.entries), (_("Head"), _("{head} (signed {at_utc})", head=verified.head, at_utc=verified.at_utc)),
        (_("Portal's fingerprint"), short(verified.portal_key)),
    ])  # fmt: skip
    _privacy(verified.privacy)
    for remark in verified.remarks:
        care(remark)
    if not portal_key:
        care(_("Compare the portal's fingerprint with the one you know, or give it as --portal-key."))
    if not verified.spent_as_stated:
        raise typer.Exit(1)


def _privacy(spent: list[Spent]) -> None:
    """What the run has cost, stated beside computed, and what follows."""
    if not spent:
        return
    whose = {"record": _("each customer"), "institution": _("the bank")}
    table([_("bank"), _("whose"), _("events"), _("epsilon stated"), _("epsilon computed"), _("allowed"), "delta", _("holds")], [
        (one.institution, whose[one.unit], one.events, f"{one.stated:.4g}", "–" if one.computed is None else f"{one.computed:.4g}",
         f"{one.allowed:g}", f"{one.delta:g}", {None: "", True: _("yes"), False: _("no")}[one.holds]) for one in spent
    ])  # fmt: skip
    if any(one.holds is None for one in spent):
        care(_("Epsilon was not computed anew: install the accountant with pip install 'fedagent[privacy]'."))
    elif all(one.holds for one in spent):
        good(_("The recorded events cost no more than was stated, and no more than the plan allows."))
    for one in spent:
        if one.holds is False:
            bad(_("The epsilon of {bank} does not hold: {stated:.4g} stated, {computed:.4g} computed, {allowed:g} allowed.",
                  bank=one.institution, stated=one.stated, computed=one.computed, allowed=one.allowed))  # fmt: skip
