"""``fedagent receipts``: what left this bank, verified without the portal."""

from __future__ import annotations

from typing import Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, good, print_json, table
from clientagent.words import _, spoken


@spoken
def receipts(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List what left this bank, and verify it.

    Each receipt: the portal's signature, our own statement, and the bytes where they are still here.
    """
    from clientagent.home import Home
    from clientagent.receipts import audit

    here = Home(home)
    here.require_identity()
    rows: list[dict[str, Any]] = [audited.as_json() for audited in audit(here)]
    broken = [row for row in rows if row["problem"]]
    if as_json:
        print_json(rows)
    elif not rows:
        typer.echo(_("No receipt yet: nothing has left this bank."))
    else:
        names = [_("at (UTC)"), _("subject"), _("run"), _("round"), _("bytes"), _("codec"), _("norm"), _("masked"), _("outcome")]
        table([*names, "epsilon", _("of run"), _("noise"), _("clipped"), _("entry"), _("verified")], [
            (row["at_utc"], row["subject"], row["run"][:8], row["round"] or "", row["update_bytes"] or "", _codec(row),
             "" if row["norm"] is None else f"{row['norm']:.3g}", _("yes") if row["masked"] else "", row["outcome"],
             *_privacy(row["privacy"]), f"{row['chain'][:12]} {row['seq']}", row["problem"] or _("yes")) for row in rows
        ])  # fmt: skip
        if not broken:
            good(_("{n} receipts verify.", n=len(rows)))
    for row in broken:
        if not as_json:
            bad(_("Receipt {id}: {problem}", id=row["id"], problem=row["problem"]))
    if broken:
        raise typer.Exit(1)


def _codec(row: dict[str, Any]) -> str:
    """The codec, and how many times smaller it made the update."""
    if row["codec"] in ("", "none"):
        return ""
    times = row["plain_bytes"] / max(row["update_bytes"], 1)
    return _("{codec}, {times:.0f} times smaller", codec=row["codec"], times=times)


def _privacy(said: dict[str, Any] | None) -> tuple[str, str, str, str]:
    """Epsilon of this release, of the run so far, noise relative to the clip, and how many gradients were cut."""
    if said is None:
        return "", "", "", ""
    share = said["clip_share"]
    cut = "" if share is None else f"{share:.0%}"
    return f"{said['epsilon_of_this']:.3g}", f"{said['epsilon_of_run']:.3g}", f"{said['noise_multiplier']:.3g}", cut
