"""A thousand agents that wait, 20 updates a second, 200 dashboards, one portal process with its worker: ``serve`` on SQLite.

The agents wait in signed long polls; 20 banks of an asynchronous run (31 parameters, a version for every 10 updates) send one
update a second each through the real door; 200 browsers that are signed in watch the run on their sockets. The time counts
from an update's acceptance, as its row says, to the first message to a screen whose events show it or a later one. All of the
load comes from one process on the same machine (``benchmarks.load``) and takes its share of it. Memory for each waiting agent is
what the portal holds more once all of them wait, divided by their number.
"""

from __future__ import annotations

import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import stage
from benchmarks.memory import now_kib

WAITING, BANKS, SCREENS, PER_SECOND, SECONDS = 1000, 20, 200, 20, 20
FEATURES = 30
TARGET_MS, TARGET_KB = 250, 100
Cast = dict[str, Any]


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "figures.json"
        stage.on_scratch("benchmarks.waiting", str(out))
        figures = json.loads(out.read_text())
    yield (
        f"update to screens    p50 {figures['p50_ms']:.0f} ms, p95 {figures['p95_ms']:.0f} ms (target {TARGET_MS}), "
        f"worst {figures['worst_ms']:.0f} ms; {figures['updates']} updates at {figures['per_second']:.1f} a second, {SCREENS} screens"
    )
    yield f"a waiting agent      {figures['kb']:.0f} kB (target {TARGET_KB}); the portal {figures['mib']:.0f} MiB with {WAITING} of them"
    yield f"the portal used      {figures['busy']:.0%} of one processor while updates came"


def _hold(out: Path) -> None:
    """In a process on a scratch folder: portal, cast, load, and the figures."""
    stage.set_up()
    from rounds.rehearsal import processes

    folder = stage.folder()
    portal = processes.Portal(port=0, log=folder / "portal.log")
    with processes.ended_by_signals():
        try:
            cast = _cast(portal.wait())
            (folder / "cast.json").write_text(json.dumps(cast))
            load = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.load", str(folder / "cast.json"), str(folder / "shown.json")],
                cwd=stage.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=processes.die_with_parent,
            )
            try:
                out.write_text(json.dumps(_measure(load, portal.pid, cast, folder)))
            finally:
                processes.stop(load)
        finally:
            portal.stop()


def _measure(load: Any, portal: int, cast: Cast, folder: Path) -> dict[str, float]:
    _hear(load, "prepared")
    before = now_kib(portal)
    _hear(load, "waiting")
    waiting, busy = now_kib(portal), _busy_s(portal)
    _hear(load, "done")
    busy = _busy_s(portal) - busy
    delays, updates, spread = _delays(cast["run"], json.loads((folder / "shown.json").read_text()))
    cuts = statistics.quantiles(delays, n=100)
    return {
        "p50_ms": 1000 * cuts[49], "p95_ms": 1000 * cuts[94], "worst_ms": 1000 * max(delays), "updates": updates,
        "per_second": (updates - 1) / spread, "kb": 1.024 * (waiting - before) / WAITING, "mib": waiting / 1024, "busy": busy / spread,
    }


def _hear(load: Any, word: str) -> None:
    """Wait for this word of the load, having told it to go on with the last one."""
    if word != "prepared":
        load.stdin.write("\n")
        load.stdin.flush()
    began = time.monotonic()
    if (said := load.stdout.readline().strip()) != word:
        raise RuntimeError(f"the load said {said!r} instead of {word!r}")
    print(f"{word} after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _busy_s(pid: int) -> float:
    """Processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _delays(run_id: str, screens: list[list[tuple[float, int]]]) -> tuple[list[float], int, float]:
    """(seconds of each update to each screen, updates, seconds from the first to the last). Raises where a screen missed one."""
    from audit.models import Entry
    from rounds.models import Update

    rows = Update.objects.filter(participation__round__run=run_id).order_by("received_at").values_list("received_at", flat=True)
    times = [moment.timestamp() for moment in rows]
    seqs = list(Entry.objects.filter(chain=f"run/{run_id}", kind="update_accepted").order_by("seq").values_list("seq", flat=True))
    delays = []
    for shown in screens:
        newest = [seq for _, seq in shown]
        for accepted, seq in zip(times, seqs, strict=True):
            place = bisect_left(newest, seq)
            if place == len(shown):
                raise RuntimeError(f"a screen never showed entry {seq}")
            delays.append(shown[place][0] - accepted)
    return delays, len(times), times[-1] - times[0]


# ------------------------------------------------------------------------ the cast
def _cast(url: str) -> Cast:
    from institutions.services import create_administrator
    from rounds.services import create_project, freeze_plan, propose_run

    admin = create_administrator(email="administrator@rehearsal.example", password=secrets.token_urlsafe(16), name="Administrator")
    agents = [_agent(f"bank-{i}", admin) for i in range(BANKS + WAITING)]
    slugs = [who["slug"] for who in agents[:BANKS]]
    plan = _plan(slugs)
    from institutions.models import Institution

    project = create_project(
        slug=plan.project, name="Waiting", purpose="credit", participants=list(Institution.objects.filter(slug__in=slugs)), user=admin
    )
    run = propose_run(plan=freeze_plan(project=project, plan=plan, title="", user=admin), user=admin)
    return {
        "url": url, "run": str(run.pk), "plan": plan.model_dump(mode="json"), "banks": agents[:BANKS], "idle": agents[BANKS:],
        "sessions": _sessions(admin, str(run.pk)), "seconds": SECONDS, "per_second": PER_SECOND,
    }


def _plan(slugs: list[str]) -> Any:
    from clientagent.wire.plan import parse_plan

    return parse_plan({
        "project": "waiting", "features": [{"name": f"x{i}", "kind": "numeric"} for i in range(FEATURES)],
        "label": {"name": "bad", "positive": 1}, "participants": slugs, "model": {"family": "logistic", "hidden": []},
        "schedule": {"mode": "async", "rounds": 100, "buffer": 10, "select": "last"}, "evaluation": {"every": 0},
    })  # fmt: skip


def _agent(slug: str, admin: Any) -> dict[str, str]:
    """An institution with an approved agent, by the services that the pages call."""
    from clientagent.wire.signing import PrivateKey
    from institutions import services

    institution = services.invite_institution(slug=slug, name=slug.title(), by=admin)
    code, key = services.issue_enrolment_code(institution=institution, by=admin).code, PrivateKey.generate()
    agent = services.enrol_agent(code=code, key=key.public, name=f"{slug}-agent", version="1.0.0")
    services.approve_agent(agent=agent, fingerprint=key.fingerprint, by=admin)
    return {"slug": slug, "agent_id": str(agent.pk), "pem": key.to_pem().decode()}


def _sessions(admin: Any, run_id: str) -> list[tuple[str, str]]:
    """(path, cookie) of each browser: the administrator and an auditor, each in both languages."""
    from django.conf import settings
    from django.test import Client

    from institutions import services
    from institutions.models import Role

    issued = services.invite_person(email="auditor@rehearsal.example", role=Role.AUDITOR, by=admin)
    auditor = services.accept_invitation(token=issued.token, name="Auditor", password=secrets.token_urlsafe(16))
    sessions = []
    for i in range(SCREENS):
        browser = Client()
        browser.force_login((admin, auditor)[i % 2])
        cookie = f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"
        sessions.append((f"/ws/runs/{run_id}/?lang={('en', 'zh-hans')[i // 2 % 2]}", cookie))
    return sessions


if __name__ == "__main__":
    _hold(Path(sys.argv[1]))
