"""What the run's page says first when a run is not simply running: what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from institutions.saying import said
from rounds.lifecycle import RunState
from rounds.models import Run, Seat
from rounds.selectors.scope import Audience, reason_for


@dataclass(frozen=True)
class Notice:
    """``tone`` is an alert's: info, success, warning or danger."""

    tone: str
    icon: str
    title: str
    text: str
    command: str = ""
    until: datetime | None = None
    url: str = ""
    action: str = ""


def notice_of(run: Run, seats: Sequence[Seat], audience: Audience) -> Notice | None:
    state = RunState(run.state)
    if state == RunState.RUNNING and run.closing_at is not None:
        return Notice(
            "info",
            "chart-line",
            _("All rounds are done"),
            _("The banks evaluate the last version; then the run's result is chosen."),
            until=run.deadline_at,
        )
    if state == RunState.PROPOSED:
        return _proposed(run, seats, audience)
    if state == RunState.PREPARING:
        return _preparing(run, seats)
    if state == RunState.PAUSED:
        text = _(
            "Nothing new begins until an administrator resumes the run. "
            "Before that: mend what held it up, extend the deadline or drop the bank."
        )
        return Notice(
            "warning", "player-pause", _("Paused: %(reason)s") % {"reason": said(run.reason) or _("no reason was given")}, text
        )
    if state == RunState.STOPPED:
        return _ended(
            run,
            audience,
            "info",
            "player-stop",
            _("Stopped: %(reason)s"),
            _("Versions and history stay. A new run of the same plan starts from the beginning."),
        )
    if state == RunState.FAILED:
        return _ended(
            run,
            audience,
            "danger",
            "circle-x",
            _("Failed: %(reason)s"),
            _("Mend what the reason names at the bank or in a new plan, then start a new run."),
        )
    if state == RunState.FINISHED and run.selected:
        return _finished(run, seats)
    return None


def _proposed(run: Run, seats: Sequence[Seat], audience: Audience) -> Notice:
    refused = [seat for seat in seats if seat.state == Seat.State.REFUSED]
    missing = [seat for seat in seats if seat.state == Seat.State.INVITED]
    own = next((seat for seat in missing if seat.institution_id == audience.institution_id), None)
    names = ", ".join(seat.institution.name for seat in (refused or missing))
    title = (
        _("Refused by %(names)s") % {"names": names}
        if refused
        else ngettext("One bank has not approved the plan yet", "%(n)d banks have not approved the plan yet", len(missing))
        % {"n": len(missing)}
    )
    if own:
        text = _(
            "Your bank's agent waits for a person's word. Read the plan, then approve it at the bank "
            "with this command; or in the browser, where policy.toml trusts that."
        )
        return Notice(
            "warning",
            "hourglass",
            title,
            text,
            f"fedagent plans approve {run.plan.hash}",
            run.deadline_at,
            reverse("rounds:plan", args=[run.plan.hash]),
            _("Read the plan"),
        )
    text = _(
        "Waiting for %(names)s. A bank approves by its policy.toml, "
        "with this command, or in the browser where its policy trusts that."
    ) % {"names": names}
    if refused:
        text = _("Ask these banks what they need, freeze a plan that they accept, and stop this run.")
    return Notice(
        "warning", "hourglass", title, text, "" if refused else f"fedagent plans approve {run.plan.hash}", run.deadline_at
    )


def _preparing(run: Run, seats: Sequence[Seat]) -> Notice:
    missing = ", ".join(seat.institution.name for seat in seats if seat.state == Seat.State.APPROVED)
    text = _("Each bank sends sums over its own rows; one preprocessing specification for all is made of them.")
    if run.plan.document.masks_statistics:
        text = _("The banks add up their statistics under masks: the portal opens the sum alone, and makes the preprocessing of it.")
    if missing:
        text += " " + _("Still missing: %(names)s.") % {"names": missing}
    return Notice("info", "list-check", _("Agreeing on the preprocessing"), text, until=run.deadline_at)


def _ended(run: Run, audience: Audience, tone: str, icon: str, title: str, text: str) -> Notice:
    url = reverse("rounds:plan", args=[run.plan.hash]) if audience.administers else ""
    return Notice(
        tone,
        icon,
        title % {"reason": reason_for(run, audience) or _("no reason was given")},
        text,
        url=url,
        action=_("To the plan"),
    )


def _finished(run: Run, seats: Sequence[Seat]) -> Notice:
    assert run.selected is not None
    seated = [seat for seat in seats if seat.state == Seat.State.SEATED]
    fetched = sum(1 for seat in seated if seat.acknowledged_at)
    why = (
        _("It has the lowest pooled validation loss.")
        if run.plan.document.schedule.select == "best"
        else _("It is the last version.")
    )
    text = (
        why
        + " "
        + ngettext(
            "%(n)d of %(all)d bank has fetched and verified it.",
            "%(n)d of %(all)d banks have fetched and verified it.",
            len(seated),
        )
        % {"n": fetched, "all": len(seated)}
    )
    url = reverse("rounds:version", args=[run.pk, run.selected.number])
    return Notice(
        "success",
        "rosette-discount-check",
        _("Finished: version %(n)d is the result") % {"n": run.selected.number},
        text,
        url=url,
        action=_("Open version %(n)d") % {"n": run.selected.number},
    )
