"""Many plans over one federation of a table, each as ``simulate`` would run it: a portal and agents are started once.

``python -m benchmarks.rehearsed SPEC.json OUT.json``. SPEC: {"data", "label", "positive", "drop", "categorical", "by", "top",
"banks", "skew", "seed", "trees": bool, "faults": [BANK:ROUND:PHASE:ACTION],
"plans": [{"name", "settings": [FIELD=VALUE], "reference": bool}]}.
OUT: a list of ``simulate``'s results with the plan's name, whether the run's history verified offline, and whether every
aggregation that was replayed from the stored updates gave the published digests again (null under masks);
with ``trees`` what boosted trees reach.
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

from benchmarks import stage

Json = dict[str, Any]


def rehearse(spec: Json, *, folder: Path) -> list[Json]:
    """Run a specification in a process of its own; raises ``subprocess.CalledProcessError``."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, out = folder / "spec.json", folder / "out.json"
    asked.write_text(json.dumps(spec))
    stage.on_scratch("benchmarks.rehearsed", str(asked), str(out))
    found: list[Json] = json.loads(out.read_text())
    return found


def main(asked: Path, out: Path) -> None:
    stage.set_up()
    from rounds.rehearsal import processes

    spec = json.loads(asked.read_text())
    with processes.ended_by_signals():
        out.write_text(json.dumps(_run(spec, stage.folder()), indent=1))


def _run(spec: Json, folder: Path) -> list[Json]:
    from rounds.rehearsal import faults, planning, tools
    from rounds.rehearsal.banks import remembered
    from rounds.rehearsal.federation import assemble, started

    about = ["--data", spec["data"], "--label", spec["label"], *tools.option("positive", _text(spec.get("positive")))]
    how = (
        ["--by", spec["by"], "--top", str(spec.get("top", 8))] if spec.get("by")
        else ["--banks", str(spec["banks"]), *tools.option("skew", spec.get("skew"))]
    )
    seed = spec.get("seed", 0)
    with started(folder, port=0, with_torch=True) as (portal, host):
        parts = tools.run_json("split", *about, *how, "--seed", str(seed), "--out", str(folder / "tables"))
        banks = remembered(parts, folder)
        draft = planning.read_yaml(tools.run(
            "draft", *about, *tools.option("drop", ",".join(spec.get("drop", [])) or None),
            *tools.option("categorical", ",".join(spec.get("categorical", [])) or None), *tools.option("by", spec.get("by")),
            "--participants", ",".join(bank.slug for bank in banks), "--project", f"benchmark-{seed}",
        ), source="the draft")
        portal.wait()
        federation = assemble(
            portal, host, banks, project=f"benchmark-{seed}", email="administrator@rehearsal.example",
            password=secrets.token_urlsafe(16), say=_say, injected=[faults.parse_fault(text) for text in spec.get("faults", [])],
        )
        plans = [(asked, _plan(draft, spec, asked["settings"], folder)) for asked in spec["plans"]]
        results = [_one(federation, asked, plan, folder, is_first=i == 0) for i, (asked, plan) in enumerate(plans)]
    return results + ([_trees(plans[0][1], folder)] if spec.get("trees") else [])


def _plan(draft: Json, spec: Json, settings: list[str], folder: Path) -> Any:
    """The draft with a plan's settings, as ``simulate`` makes it."""
    from rounds.rehearsal import planning

    plan = planning.finished(draft, seed=spec.get("seed", 0), settings=settings)
    return planning.with_knowledge(plan, data=spec["data"], folder=folder) if plan.privacy.record_dp else plan


def _one(federation: Any, asked: Json, plan: Any, folder: Path, *, is_first: bool) -> Json:
    from clientagent.wire.errors import Refusal
    from rounds.rehearsal import report
    from rounds.rehearsal.watching import follow
    from rounds.services import freeze_plan, propose_run

    _say(f"== {asked['name']}")
    try:
        if is_first:
            run = federation.propose(plan, project_name=plan.project)
            federation.agents.start()
        else:
            project = run_project(plan.project)
            frozen = freeze_plan(project=project, plan=plan, title=asked["name"][:120], user=federation.administrator)
            run = propose_run(plan=frozen, user=federation.administrator)
        run = follow(run, agents=federation.agents, portal=federation.portal, say=_say, user=federation.administrator)
    except Refusal as refusal:
        return {"name": asked["name"], "refused": refusal.sentence}
    result = report.result_of(
        run, folder=folder, reference=asked.get("reference", False), peak_rss_mb=federation.portal.peak_rss_mb
    )
    return {"name": asked["name"], **result, "verified": _verified(run), "replayed": _replayed(run)}


def run_project(slug: str) -> Any:
    from rounds.models import Project

    return Project.objects.get(slug=slug)


def _trees(plan: Any, folder: Path) -> Json:
    from benchmarks.trees import figures_of
    from rounds.models import Run
    from rounds.rehearsal.banks import TABLES

    run = Run.objects.exclude(preprocessing=None).get(plan__hash=plan.hash)
    return {"name": "trees", **figures_of(plan, run.preprocessing, folder / TABLES)}


def _verified(run: Any) -> bool:
    """As the auditor does, from the file alone. Raises the refusal that names what does not hold."""
    from clientagent.history.verify import verify_history
    from rounds.exports.downloads import history

    return verify_history(json.dumps(history(run)).encode()).versions == run.versions.count()


def _replayed(run: Any) -> bool:
    from rounds.engine.aggregation import aggregate_round
    from rounds.services.updates import layout_for

    rounds = run.rounds.filter(state="published", only_counts=False).select_related("base", "version", "run__plan")
    again = [(round_, aggregate_round(round_, layout_for(run), on_block=lambda share: None)) for round_ in rounds]
    return all((done.digest, done.state_digest) == (row.version.digest, row.version.state_id) for row, done in again)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
