"""``fedagent status``: what this agent is, does and waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, care, facts, print_json, table
from clientagent.words import _, mark, said, spoken

if TYPE_CHECKING:
    from clientagent.home import Home
    from clientagent.runs import RunFolder

ENROLMENTS = (mark("pending"), mark("approved"), mark("revoked"))


@spoken
def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show what this agent is, does and waits for."""
    from clientagent.home import Home

    result = _status(Home(home))
    if as_json:
        print_json(result)
        return
    agent = _("running, process {process}", process=result["process"])
    if not result["running"]:
        agent = _("not running; start it with 'fedagent run'")
    facts([
        (_("Institution"), f"{result['institution_name']} ({result['institution']})"), (_("Portal"), result["portal"]),
        (_("Enrolment"), _(result["enrolment"])), (_("Agent"), agent), (_("Last contact"), result["last_contact_utc"] or _("never")),
        (_("Receipts"), result["receipts"]), (_("Models"), ", ".join(result["models"]) or _("none yet")),
    ])  # fmt: skip
    if result["problem"]:
        care(said(result["problem"]))
    for plan_hash in result["plans_waiting"]:
        care(_("Plan {plan_hash} waits for a person: fedagent plans show {plan_hash}", plan_hash=plan_hash[:12]))
    if result["runs"]:
        table([_("run"), _("rounds sent"), _("last work"), _("state")], [
            (run["run"], run["rounds_sent"], run["last_work"].replace("round", _("round")), _(run["state"])) for run in result["runs"]
        ])  # fmt: skip
    for run in result["runs"]:
        if run["stopped"]:
            bad(_("Run {run} is stopped here: {stopped}", run=run["run"], stopped=said(run["stopped"])))


def _status(home: Home) -> dict[str, Any]:
    from clientagent.lock import holder, is_held

    identity = home.require_identity()
    activity = home.activity
    running = is_held(home.lock_path)
    waiting = [one for one in home.plan_hashes() if (said := home.decision(one)) and said.said.decision == "pending"]
    return {
        "home": str(home.path), "institution": identity.institution, "institution_name": identity.institution_name,
        "portal": identity.portal, "agent_id": identity.agent_id, "enrolment": identity.state,
        "key_fingerprint": identity.key_fingerprint, "running": running, "process": holder(home.lock_path) if running else None,
        "last_contact_utc": activity.at_utc if activity else None, "problem": activity.problem if activity else "",
        "plans_waiting": waiting, "runs": [_run(folder) for folder in home.runs()], "receipts": len(home.receipt_paths()),
        "models": sorted(path.name for path in (home.path / "models").glob("*/")),
    }


def _run(folder: RunFolder) -> dict[str, Any]:
    works = folder.works()
    last = works[-1] if works else None
    stop = folder.stopped
    state = mark("stopped") if stop else mark("roster signed") if folder.manifest else mark("counted") if folder.statistics else mark("new")
    if last is not None:
        waits = mark("ready to send") if last.manifest else mark("waits to be masked") if last.ready else mark("in work")
        state = "stopped" if stop else mark("sent") if last.receipt else waits
    return {
        "run": folder.id, "rounds_sent": sum(work.receipt is not None for work in works),
        "last_work": f"round {last.path.name.partition('-')[0]}" if last else "", "state": state,
        "stopped": f"{stop.code}: expected {stop.expected}, got {stop.got}" if stop else "",
    }
