"""``fedagent status``: what this agent is, does and waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clientagent.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from clientagent.cli.output import bad, care, facts, print_json, table

if TYPE_CHECKING:
    from clientagent.home import Home
    from clientagent.runs import RunFolder


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show what this agent is, does and waits for."""
    from clientagent.home import Home

    result = _status(Home(home))
    if as_json:
        print_json(result)
        return
    agent = f"running, process {result['process']}" if result["running"] else "not running; start it with 'fedagent run'"
    facts([
        ("Institution", f"{result['institution_name']} ({result['institution']})"), ("Portal", result["portal"]),
        ("Enrolment", result["enrolment"]), ("Agent", agent), ("Last contact", result["last_contact_utc"] or "never"),
        ("Receipts", result["receipts"]), ("Models", ", ".join(result["models"]) or "none yet"),
    ])  # fmt: skip
    if result["problem"]:
        care(result["problem"])
    for plan_hash in result["plans_waiting"]:
        care(f"Plan {plan_hash[:12]} waits for a person: fedagent plans show {plan_hash[:12]}")
    if result["runs"]:
        table(["run", "rounds sent", "last work", "state"], [
            (run["run"], run["rounds_sent"], run["last_work"], run["state"]) for run in result["runs"]
        ])  # fmt: skip
    for run in result["runs"]:
        if run["stopped"]:
            bad(f"Run {run['run']} is stopped here: {run['stopped']}")


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
    state = "stopped" if stop else "roster signed" if folder.manifest else "counted" if folder.statistics else "new"
    if last is not None:
        waits = "ready to send" if last.manifest else "waits to be masked" if last.ready else "in work"
        state = "stopped" if stop else "sent" if last.receipt else waits
    return {
        "run": folder.id, "rounds_sent": sum(work.receipt is not None for work in works),
        "last_work": f"round {last.path.name.partition('-')[0]}" if last else "", "state": state,
        "stopped": f"{stop.code}: expected {stop.expected}, got {stop.got}" if stop else "",
    }
