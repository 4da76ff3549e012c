"""``fedagent receipts``: what left this bank, verified without the portal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, care, facts, good, print_json, table
from clientagent.words import _, said, spoken


@spoken
def receipts(
    receipt: Annotated[str, typer.Argument(metavar="ID", help=_("One receipt in full, by its id or how that begins."))] = "",
    home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """List what left this bank, and verify it.

    Each receipt: the portal's signature, our own statement, and the bytes where they are still here.
    """
    from clientagent.home import Home
    from clientagent.receipts import audit, audit_one

    here = Home(home)
    here.require_identity()
    if receipt:
        rows = [audit_one(here, receipt).as_json()]
    else:
        rows = [audited.as_json() for audited in audit(here)]
    if as_json:
        print_json(rows[0] if receipt else rows)
    elif receipt:
        _show(rows[0])
    else:
        _list(rows)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


def _list(rows: list[dict[str, Any]]) -> None:
    if not rows:
        typer.echo(_("No receipt yet: nothing has left this bank."))
        return
    names = [_("at (UTC)"), _("receipt"), _("subject"), _("run"), _("round"), _("bytes"), _("plain"), _("codec"), _("norm before"),
             _("norm"), _("clipped"), _("masked"), _("outcome")]  # fmt: skip
    table([*names, "epsilon", _("of run"), _("noise"), _("entry"), _("verified")], [
        (row["at_utc"], row["id"][:8], row["subject"], row["run"][:8], row["round"] or "", row["update_bytes"] or "",
         row["plain_bytes"] or "", _codec(row), _number(row["norm_before"]), _number(row["norm"]), _clipped(row),
         _("yes") if row["masked"] else "", row["outcome"], *_privacy(row), f"{row['chain'][:12]} {row['seq']}",
         said(row["problem"]) or _("yes")) for row in rows
    ])  # fmt: skip
    broken = [row for row in rows if row["problem"]]
    if not broken:
        good(_("{n} receipts verify.", n=len(rows)))
    for row in broken:
        bad(_("Receipt {id}: {problem}", id=row["id"], problem=said(row["problem"])))


def _show(row: dict[str, Any]) -> None:
    """Everything about one receipt."""
    facts([
        (_("Receipt"), row["id"]), (_("What left"), row["subject"]), (_("Run"), row["run"]), (_("Round"), row["round"] or "–"),
        (_("Outcome"), row["outcome"]), (_("Received (UTC)"), row["at_utc"]), *_of_the_update(row), *_of_the_customers(row["privacy"]),
        *_of_the_bank(row["bank"]), (_("Statement's digest"), row["document_digest"]), (_("Signed by this bank's key"), row["agent_key"]),
        (_("Countersigned by the portal's key"), row["portal_key"]),
        (_("On the ledger"), _("chain {chain}, entry {seq}, {hash}", chain=row["chain"], seq=row["seq"], hash=row["entry_hash"])),
    ])  # fmt: skip
    if row["problem"]:
        bad(_("Receipt {id}: {problem}", id=row["id"], problem=said(row["problem"])))
        return
    if row["subject"] == "update":
        care(_("Norms before clipping and shares of what was clipped are known to this bank only: no noise covers them."))
    good(_("The receipt verifies: both signatures, and the digest of what left."))


def _of_the_update(row: dict[str, Any]) -> list[tuple[str, object]]:
    if row["subject"] != "update":
        return []
    return [
        (_("Digest of the bytes"), row["update_digest"]),
        (_("Bytes"), _("{sent} on the wire, {plain} without a codec", sent=row["update_bytes"], plain=row["plain_bytes"])),
        (_("Codec"), _codec(row) or _("none")), (_("Masked"), _("yes") if row["masked"] else _("no")),
        (_("Norm before clipping"), _number(row["norm_before"]) or _("not noted")),
        (_("Norm of what left"), _number(row["norm"]) or _("not noted")),
    ]  # fmt: skip


def _of_the_customers(said: dict[str, Any] | None) -> list[tuple[str, object]]:
    if said is None:
        return []
    share, norm = said["clip_share"], said["mean_norm"]
    gradients = _("clip {clip:g}", clip=said["clip"])
    if share is not None:
        gradients += ", " + _("{share:.1%} of the drawn rows cut", share=share)
    if norm is not None:
        gradients += ", " + _("norm {norm:.4g} on average before", norm=norm)
    return [
        (_("Privacy of each customer"), _epsilons(said)), ("", _("epsilon {epsilon:.4g} of lineage {lineage} over all plans",
                                                               epsilon=said["epsilon_of_lineage"], lineage=said["lineage"])),
        (_("Noise"), _("{noise:.4g} times the clip, {steps} steps, each row drawn with chance {rate:g}",
                       noise=said["noise_multiplier"], steps=said["steps"], rate=said["sampling_rate"])),
        (_("Gradients"), gradients),
    ]  # fmt: skip


def _of_the_bank(said: dict[str, Any] | None) -> list[tuple[str, object]]:
    if said is None:
        return []
    cut = {None: _("not noted"), True: _("this update was cut"), False: _("this update was within it")}[said["clipped"]]
    return [
        (_("Privacy of the bank"), _epsilons(said)),
        ("", _("epsilon {epsilon:.4g} in project {project} over all plans", epsilon=said["epsilon_of_project"], project=said["project"])),
        (_("Noise in the sum"), _("{noise:.4g} times the clip {clip:.4g}; {cut}",
                                  noise=said["noise_multiplier"], clip=said["clip"], cut=cut)),
    ]  # fmt: skip


def _epsilons(said: dict[str, Any]) -> str:
    return _("epsilon {this:.4g} of this round, {run:.4g} of the run so far, {allowed:g} allowed, at delta {delta:g}",
             this=said["epsilon_of_this"], run=said["epsilon_of_run"], allowed=said["epsilon_allowed"], delta=said["delta"])  # fmt: skip


def _codec(row: dict[str, Any]) -> str:
    """The codec, and how many times smaller it made the update."""
    if row["codec"] in ("", "none"):
        return ""
    times = row["plain_bytes"] / max(row["update_bytes"], 1)
    return _("{codec}, {times:.0f} times smaller", codec=row["codec"], times=times)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _clipped(row: dict[str, Any]) -> str:
    """The share of drawn gradients that were cut, or whether the update as a whole was."""
    customers, bank = row["privacy"], row["bank"]
    parts = [] if customers is None or customers["clip_share"] is None else [f"{customers['clip_share']:.0%}"]
    if bank is not None and bank["clipped"] is not None:
        parts.append(_("cut") if bank["clipped"] else _("whole"))
    return " · ".join(parts)


def _privacy(row: dict[str, Any]) -> tuple[str, str, str]:
    """Epsilon of this release, of the run so far, and noise relative to the clip; for customers, then for the bank."""
    said = [part for part in (row["privacy"], row["bank"]) if part is not None]
    names = ("epsilon_of_this", "epsilon_of_run", "noise_multiplier")
    this, run, noise = (" · ".join(f"{part[name]:.3g}" for part in said) for name in names)
    return this, run, noise
