"""What a rehearsal tells at its end: rounds from the portal's rows, scores from the agent's own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

from django.db.models import Max, Min, Sum

from rounds.lifecycle import RoundState
from rounds.models import Participation, Round, Run, Update
from rounds.rehearsal import tools
from rounds.rehearsal.banks import TABLES
from rounds.selectors.privacy import epsilon_after
from rounds.storage import blobs


class RoundFigures(TypedDict):
    """One published round: the version that it made."""

    number: int
    seconds: float
    bytes_up: int
    bytes_down: int
    participants: int
    auc: float | None
    ks: float | None
    loss: float | None
    epsilon: float | None


def result_of(run: Run, *, folder: Path, reference: bool, peak_rss_mb: float | None) -> dict[str, Any]:
    """The JSON of ``simulate``."""
    assert run.selected is not None
    scores = _scores(run, folder=folder, reference=reference)
    rounds = [round_figures(round_) for round_ in published(run)]
    return {
        "plan_hash": run.plan.hash,
        "strategy": run.plan.document.strategy.name,
        "rounds": rounds,
        "final": scores["final"],
        "central": scores["central"],
        "local": scores["local"],
        "model_digest": run.selected.digest,
        "totals": {
            "seconds": _total_seconds(run),
            "bytes_up": sum(row["bytes_up"] for row in rounds),
            "bytes_down": sum(row["bytes_down"] for row in rounds),
            "peak_rss_mb": peak_rss_mb,
        },
    }


def published(run: Run) -> list[Round]:
    rounds = Round.objects.filter(run=run, state=RoundState.PUBLISHED, only_counts=False).select_related("version", "run__plan")
    return list(rounds.order_by("number"))


def round_figures(round_: Round) -> RoundFigures:
    """All attempts of the round count: what was sent was sent, and the clock ran."""
    attempts = Round.objects.filter(run_id=round_.run_id, number=round_.number)
    opened = attempts.aggregate(first=Min("opened_at"))["first"]
    uploaded = Update.objects.filter(into__in=attempts).aggregate(sum=Sum("bytes"))["sum"]
    downloaded = Participation.objects.filter(round__in=attempts).aggregate(sum=Sum("bytes_down"))["sum"]
    pooled = (round_.version.pooled or {}).get("holdout", {})
    assert round_.published_at is not None
    return {
        "number": round_.number,
        "seconds": round((round_.published_at - opened).total_seconds(), 4),
        "bytes_up": uploaded or 0,
        "bytes_down": downloaded or 0,
        "participants": round_.counted.filter(weight__isnull=False).values("participation__institution").distinct().count(),
        "auc": pooled.get("auc"),
        "ks": pooled.get("ks"),
        "loss": pooled.get("loss"),
        "epsilon": epsilon_after(round_.run, round_.number),
    }


def _total_seconds(run: Run) -> float:
    ends = Round.objects.filter(run=run, only_counts=False).aggregate(first=Min("opened_at"), last=Max("published_at"))
    return round((ends["last"] - ends["first"]).total_seconds(), 4)


def _scores(run: Run, *, folder: Path, reference: bool) -> dict[str, Any]:
    """``final``, ``central`` and ``local``: scores on all hold-out rows together, computed by the agent's code."""
    assert run.selected is not None
    (folder / "plan.json").write_text(run.plan.text)
    (folder / "preprocessing.json").write_text(json.dumps(run.preprocessing))
    scores: dict[str, Any] = tools.run_json(
        "reference", "--plan", str(folder / "plan.json"), "--banks", str(folder / TABLES),
        "--model", str(blobs.path_of(run.selected.digest)), "--preprocessing", str(folder / "preprocessing.json"),
        *([] if reference else ["--no-reference"]),
    )
    return scores


# ------------------------------------------------------------------------ as text
def round_line(round_: Round) -> str:
    """A round as it is published; the figures of its version come when the banks have evaluated it."""
    figures = round_figures(round_)
    rounds = round_.run.total_versions
    return (
        f"round {figures['number']:>{len(str(rounds))}}/{rounds}  {figures['seconds']:6.2f} s  "
        f"{figures['participants']} banks  {size(figures['bytes_up'])} up"
    )


def rounds_table(rounds: list[RoundFigures]) -> str:
    """A table per round."""
    rows = [
        [
            str(row["number"]), f"{row['seconds']:.2f}", str(row["participants"]), size(row["bytes_up"]),
            size(row["bytes_down"]), number(row["auc"]), number(row["ks"]), number(row["loss"]), number(row["epsilon"]),
        ]
        for row in rounds
    ]  # fmt: skip
    head = ["round", "seconds", "banks", "up", "down", "AUC", "KS", "log loss", "epsilon"]
    if all(row["epsilon"] is None for row in rounds):  # nothing is spent where nothing is promised
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows)


def scores_text(result: dict[str, Any]) -> str:
    """The final metrics, and beside them what a bank alone and all rows in one place would reach."""
    final, central, local = result["final"], result["central"], result["local"]
    lines = [
        f"Federated model (the selected version), on all hold-out rows: AUC {number(final['auc'])}, KS {number(final['ks'])}, "
        f"Gini {number(final['gini'])}, log loss {number(final['logloss'])}, Brier {number(final['brier'])}"
    ]
    if central and central.get("auc") is not None:
        lines.append(f"All training rows in one place: AUC {number(central['auc'])}")
    if local:
        rows = [
            [row["institution"], str(row["rows"]), number(row["auc"]), number(row["own_auc"]), number(row["final_own_auc"])]
            for row in local
        ]
        lines += ["Each bank alone:", table(["bank", "rows", "AUC", "on its own rows", "federated on its own rows"], rows)]
    return "\n".join(lines)


def table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows])


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def size(count: int) -> str:
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
