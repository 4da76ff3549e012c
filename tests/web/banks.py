"""Scripted banks whose figures tell whose they are: no two banks ever have the same AUC, KS or loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from clientagent.wire import messages
from clientagent.wire.metrics import from_sparse, metrics_of
from clientagent.wire.plan import parse_plan
from rounds import services
from tests.cast import Bank
from tests.rounds.scripted import Federation, ScriptedBank, plan_document

PLACES = {"north": 0, "south": 1, "east": 4}


ROWS = 97


def split_of(slug: str, version: int) -> messages.SplitCounts:
    """97 customers, ordered differently at each bank; the loss falls from version to version."""
    place = PLACES.get(slug, 2)
    bins = [(200, 31 + 3 * place, 2), (400, 17, 5 + place), (700, 5, 11), (900, 3, 23 - 4 * place)]
    return messages.SplitCounts(rows=ROWS, loss_sum=38.3 - 2.37 * place - 1.13 * version, bins=bins)


def figures_of(slug: str, version: int) -> list[str]:
    """The figures as a page writes them: this bank's AUC, KS and loss of a version."""
    split = split_of(slug, version)
    found = metrics_of(from_sparse(split, 1000), split.loss_sum, split.rows)
    assert found.auc is not None
    assert found.ks is not None
    assert found.loss is not None
    return [f"{found.auc:.4f}", f"{found.ks:.4f}", f"{found.loss:.4f}"]


@dataclass
class TellingBank(ScriptedBank):
    def counts(self, order: dict[str, Any]) -> messages.EvaluationCounts:
        split = split_of(self.slug, order["base_number"])
        return messages.EvaluationCounts(
            number=order["base_number"], version_digest=order["base_digest"], validation=split, holdout=split
        )

    def report(self, run, **changes):
        return super().report(run, **{"validation_rows": ROWS, "holdout_rows": ROWS, **changes})

    def update(self, run, order, flat, **changes):
        if order["evaluate"]:
            changes.setdefault("counts", self.counts(order))
        return super().update(run, order, flat, **changes)

    def evaluate(self, order: dict[str, Any]):
        report = messages.EvaluationReport(
            run=order["run"], manifest_digest=order["manifest_digest"], institution=self.slug, counts=self.counts(order)
        )
        return self.post("evaluations", report)


def telling_federation(banks: list[Bank], user: Any, *, rounds: int = 4, slug: str = "retail") -> Federation:
    document = plan_document([bank.slug for bank in banks], schedule={"rounds": rounds}) | {"project": slug}
    plan = parse_plan(document)
    members = [bank.institution for bank in banks]
    project = services.create_project(slug=slug, name="Retail credit", purpose="credit", participants=members, user=user)
    frozen = services.freeze_plan(project=project, plan=plan, user=user, title="The plan")
    run = services.propose_run(plan=frozen, user=user)
    rows = (100, 200, 300, 400)
    return Federation(run, [TellingBank(bank, plan, rows[i % 4]) for i, bank in enumerate(banks)])
