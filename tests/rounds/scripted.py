"""A bank whose agent follows a script: real HTTP requests, real signatures, made-up numbers instead of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from asgiref.sync import async_to_sync
from django.http import HttpResponse

from clientagent.training.compression import compress
from clientagent.wire import messages
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.cohort_orders import CohortNotice
from clientagent.wire.masking import Party
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.signing import Document, Signed, sign_document
from clientagent.wire.strategies import STEPS_COUNT, steps_of, uplink_layout
from clientagent.wire.tensors import Array, unpack
from clientagent.wire.weights import layout_of
from rounds import services
from rounds.engine import steps
from rounds.models import Project, Run
from rounds.storage import blobs
from tests.cast import Bank
from tests.wire.speaking import statistics_word

API = "/api/v1"
INSTANT = "2026-01-01T00:00:00Z"
SPLIT = messages.SplitCounts(rows=20, loss_sum=10.0, bins=[(300, 10, 0), (700, 2, 8)])


def plan_document(banks: list[str], **changes: Any) -> dict[str, Any]:
    """A small logistic plan; ``changes`` are whole sections."""
    return {
        "project": "retail",
        "features": [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical"}],
        "label": {"name": "default", "positive": 1},
        "participants": banks,
        "model": {"family": "logistic", "hidden": []},
        "schedule": {"rounds": 2},
        **changes,
    }


@dataclass
class ScriptedBank:
    """The bank of the cast, speaking for itself."""

    bank: Bank
    plan: Plan
    rows: int = 100
    heads: dict[str, str] = field(default_factory=dict)
    parties: dict[str, Party] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        return self.bank.slug

    def sign(self, document: Document) -> Signed:
        return sign_document(document, self.bank.key)

    def post(self, path: str, document: Document) -> HttpResponse:
        return self.bank.post(f"{API}/{path}", canonical(self.sign(document)))

    def work(self) -> dict[str, Any] | None:
        """The next order's document, or None."""
        answer = self.bank.get(f"{API}/work?wait=0")
        return answer.json()["order"]["document"] if answer.status_code == 200 else None

    def decide(self, decision: str = "approved", reason: str = "") -> HttpResponse:
        word = messages.Decision(
            plan_hash=self.plan.hash, institution=self.slug, decision=decision, by="policy", reason=reason, at_utc=INSTANT
        )
        return self.post(f"plans/{self.plan.hash}/decisions", word)

    def report(self, run: Run, **changes: Any) -> messages.StatisticsReport:
        values = {
            "run": str(run.pk), "plan_hash": self.plan.hash, "institution": self.slug, "rows": self.rows,
            "validation_rows": 20, "holdout_rows": 20, "data_digest": "0" * 64,
            "numeric": [messages.NumericStatistics(name="income", count=self.rows, mean=10.0, m2=400.0, missing=0)],
            "categorical": [
                messages.CategoricalStatistics(name="region", counts={"a": self.rows - 40, "b": 40}, other=0, missing=0)
            ],
        }
        return messages.StatisticsReport(**{**values, **changes})

    def count(self, run: Run) -> HttpResponse:
        hidden = {"numeric": [], "categorical": []} if self.plan.masks_statistics else {}
        return self.post("statistics", self.report(run, **hidden))

    def sum_statistics(self, run: Run) -> HttpResponse | None:
        """What the cohort that sums statistics asks of this bank, answered."""
        document = self.work()
        if document is None or document["type"] != "cohort_notice":
            return None
        notice = CohortNotice.model_validate(document)
        word, words = statistics_word(self.parties, self.plan, self.bank.key, notice, self.report(run))
        if words is None:
            return self.bank.post(f"{API}/cohorts/{notice.rid}/messages", canonical(word))
        head = canonical(word)
        body = len(head).to_bytes(4, "big") + head + words
        return self.bank.post(f"{API}/cohorts/{notice.rid}/vector", body, content_type="application/vnd.fedportal.update")

    def difference(self, run: Run, seed: int) -> Array:
        parameters = uplink_layout(self.plan, run.inputs).parameters
        return np.random.default_rng(seed).normal(size=parameters).astype(np.float32)

    def update(self, run: Run, order: dict[str, Any], flat: Array, **changes: Any) -> tuple[Signed, bytes]:
        layout, codec = uplink_layout(self.plan, run.inputs), self.plan.compression
        random = np.random.default_rng(order["round"])
        data = compress(flat, layout, codec, residual=None, random=random).data
        counts = None
        if order["evaluate"]:
            counts = messages.EvaluationCounts(
                number=order["base_number"], version_digest=order["base_digest"], validation=SPLIT, holdout=SPLIT
            )
        manifest = messages.UpdateManifest(**{
            "run": order["run"], "manifest_digest": order["manifest_digest"], "round": order["round"],
            "attempt": order["attempt"], "base_number": order["base_number"], "base_digest": order["base_digest"],
            "institution": self.slug, "agent_id": str(self.bank.agent.pk), "update_digest": sha256_hex(data),
            "update_bytes": len(data), "plain_bytes": layout.file_bytes, "rows": self.rows, "norm": 1.0, "steps": 3,
            "codec": codec.codec, "base_loss": 0.7, "train_loss": 0.5, "training_s": 0.1,
            "counts": counts, "environment": messages.Environment(agent_version="1", python="3.11", numpy="2"),
            **({"steps": steps_of(self.plan, self.rows)} if self.plan.strategy.name in STEPS_COUNT else {}), **changes,
        })
        return self.sign(manifest), data

    def send(self, statement: Signed, data: bytes) -> HttpResponse:
        head = canonical(statement)
        body = len(head).to_bytes(4, "big") + head + data
        return self.bank.post(f"{API}/updates", body, content_type="application/vnd.fedportal.update")

    def train(self, run: Run, *, seed: int = 0) -> HttpResponse:
        """Take the order that waits and answer it with numbers from ``seed``."""
        run.refresh_from_db()
        order = self.work()
        assert order is not None
        assert order["kind"] == "train"
        return self.send(*self.update(run, order, self.difference(run, seed)))

    def evaluate(self, order: dict[str, Any]) -> HttpResponse:
        counts = messages.EvaluationCounts(
            number=order["base_number"], version_digest=order["base_digest"], validation=SPLIT, holdout=SPLIT
        )
        return self.post("evaluations", messages.EvaluationReport(
            run=order["run"], manifest_digest=order["manifest_digest"], institution=self.slug, counts=counts
        ))

    def collect(self, order: dict[str, Any]) -> HttpResponse:
        answer = self.bank.get(f"{API}/models/{order['run']}/{order['base_number']}")
        data = streamed(answer)
        assert sha256_hex(data) == order["base_digest"]
        return self.post(f"runs/{order['run']}/acknowledgements", messages.Acknowledgement(
            run=order["run"], manifest_digest=order["manifest_digest"], institution=self.slug, number=order["base_number"],
            version_digest=order["base_digest"], at_utc=INSTANT,
        ))


@dataclass
class Federation:
    """A project, its plan, and its banks."""

    run: Run
    banks: list[ScriptedBank]

    def advance(self) -> Run:
        steps.advance(str(self.run.pk))
        self.run.refresh_from_db()
        return self.run

    def begin(self) -> Run:
        """Everybody approves and counts; round 1 is open."""
        for bank in self.banks:
            assert bank.decide().status_code == 200
        self.advance()
        for bank in self.banks:
            assert bank.count(self.run).status_code == 200
        run = self.advance()
        while run.state == "preparing":  # under masks: a word of each bank in each stage
            answers = [bank.sum_statistics(self.run) for bank in self.banks]
            assert all(answer.status_code in (200, 204) for answer in answers if answer), [a.content for a in answers if a]
            assert any(answers)
            run = self.advance()
        return run

    def round(self, *, seed: int = 0, banks: list[ScriptedBank] | None = None) -> Run:
        for i, bank in enumerate(banks or self.banks):
            answer = bank.train(self.run, seed=seed + i)
            assert answer.status_code == 200, answer.content
        return self.advance()

    def finish(self) -> Run:
        while self.run.state == "running" and self.run.closing_at is None:
            self.round(seed=7 * self.run.versions.count())
        for bank in self.banks:
            order = bank.work()
            assert order is not None
            assert bank.evaluate(order).status_code == 200
        return self.advance()


def streamed(answer: HttpResponse) -> bytes:
    """The bytes of a download."""

    async def read() -> bytes:
        return b"".join([part async for part in answer.streaming_content])

    return async_to_sync(read)() if answer.streaming else answer.content


def make_federation(banks: list[Bank], user: Any, **changes: Any) -> Federation:
    plan = parse_plan(plan_document([bank.slug for bank in banks], **changes))
    project = Project.objects.filter(slug="retail").first() or services.create_project(
        slug="retail", name="Retail credit", purpose="credit", participants=[bank.institution for bank in banks], user=user
    )
    frozen = services.freeze_plan(project=project, plan=plan, user=user)
    run = services.propose_run(plan=frozen, user=user)
    rows = (100, 200, 300, 400)
    return Federation(run, [ScriptedBank(bank, plan, rows[i % 4]) for i, bank in enumerate(banks)])


def weights_of(run: Run, number: int, plan: Plan) -> Array:


    data = b"".join(blobs.read(run.versions.get(number=number).digest))
    return unpack(data, layout_of(plan, run.inputs))
