"""A bank whose agent trains nothing: the real transport, portal, home and witness; made-up numbers that follow from the base.

An update depends on the bank and on the bytes of its base alone, so undisturbed and disturbed runs of one plan must end in
the same bits, and any difference on the way changes all that follows.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from clientagent.enrolment import enrol
from clientagent.files import read_document
from clientagent.home import Home, StoredReceipt
from clientagent.portal import Portal
from clientagent.transport import Transport
from clientagent.wire import messages
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.cohort_orders import CohortNotice, UpdateReady
from clientagent.wire.errors import NotFinite, PortalUnreachable, Refusal
from clientagent.wire.masking import UPDATE, Party, count_segments, evaluation_integers, quantise
from clientagent.wire.plan import Plan
from clientagent.wire.signing import Document, Signed, parse, sign_document
from clientagent.wire.tensors import pack
from clientagent.wire.weights import layout_of
from tests.wire.speaking import statistics_word

INSTANT = "2026-01-01T00:00:00Z"
SPLIT = messages.SplitCounts(rows=20, loss_sum=10.0, bins=[(300, 10, 0), (700, 2, 8)])
PATIENCE_S = 20.0
ENVIRONMENT = messages.Environment(agent_version="1", python="3.11", numpy="2")


class Gate:
    """Lets the bank pass one step of its work, or holds it there."""

    def __init__(self) -> None:
        self._open: dict[str, threading.Event] = {}

    def shut(self, step: str) -> None:
        self._open[step] = threading.Event()

    def open(self) -> None:
        for event in self._open.values():
            event.set()
        self._open = {}

    def pass_through(self, step: str) -> None:
        if event := self._open.get(step):
            event.wait(60)


class LightAgent:
    """One bank; ``start`` lets it work in a thread until ``end``."""

    def __init__(self, home: Home, slug: str, rows: int) -> None:
        self.home, self.slug, self.rows = home, slug, rows
        self.gate = Gate()
        self.troubles: list[Refusal] = []
        self.behaviour: dict[str, Any] = {}
        self.is_busy = False
        self._outbox: dict[tuple[str, int, int], Signed] = {}
        self._said: dict[bytes, Signed] = {}
        self._plain: dict[tuple[str, int, int], tuple[UpdateReady, messages.WorkOrder, Any]] = {}
        self._parties: dict[str, Party] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def enrol(self, url: str, code: str) -> tuple[str, str]:
        """(agent id, fingerprint)"""
        identity = enrol(self.home, url=url, code=code, name=f"{self.slug}-agent")
        return identity.agent_id, identity.key_fingerprint

    def start(self) -> None:
        self.transport = Transport(self.home.require_identity().portal, self.home.key, patience_s=PATIENCE_S)
        self.portal = Portal(self.transport, self.home)
        self._thread = threading.Thread(target=self._loop, name=self.slug, daemon=True)
        self._thread.start()

    def ask_to_end(self) -> None:
        self._ended.set()
        self.gate.open()

    def end(self) -> None:
        self.ask_to_end()
        if self._thread:
            self._thread.join(PATIENCE_S * 2)
            self.transport.close()

    # ---------------------------------------------------------------------- work
    def _loop(self) -> None:
        while not self._ended.is_set():
            try:
                found = self.portal.work(wait_s=2)
                if found is not None:
                    self.is_busy = True
                    answer, sent = found
                    self.portal.check_head(answer.head, sent)
                    self._follow(answer)
            except PortalUnreachable:
                time.sleep(0.05)
            except Refusal as error:
                self.troubles.append(error)
                time.sleep(0.1)
            finally:
                self.is_busy = False

    def _follow(self, answer: messages.WorkAnswer | None) -> None:
        while answer is not None and not self._ended.is_set():
            kind = answer.order.document["type"]
            answer = getattr(self, f"_on_{kind}")(answer.order)

    def _on_plan_notice(self, order: Signed) -> None:
        notice = self.portal.open(order, messages.PlanNotice)
        self.gate.pass_through("decide")
        signed, plan = self.portal.plan(notice.plan_hash)
        self.home.save_plan(signed)
        self.portal.decide(plan.hash, self._sign(messages.Decision(
            plan_hash=plan.hash, institution=self.slug, decision=self.behaviour.get("decision", "approved"), by="policy",
            reason="", at_utc=INSTANT,
        )))

    def _on_statistics_order(self, order: Signed) -> messages.WorkAnswer | None:
        asked = self.portal.open(order, messages.StatisticsOrder)
        self.portal.attend(asked.run)
        self.gate.pass_through("count")
        if self.behaviour.get("unfit"):
            word: Document = messages.Unfit(
                run=asked.run, plan_hash=asked.plan_hash, institution=self.slug, column="income", reason="no such column"
            )
        else:
            word = self._report(asked)
            if self.home.require_plan(asked.plan_hash).masks_statistics:
                word = word.model_copy(update={"numeric": [], "categorical": []})
        return self.portal.statistics(asked.run, self._sign(word)).next

    def _report(self, asked: messages.StatisticsOrder) -> Document:
        return messages.StatisticsReport(
            run=asked.run, plan_hash=asked.plan_hash, institution=self.slug, rows=self.rows, validation_rows=20, holdout_rows=20,
            data_digest="0" * 64,
            numeric=[messages.NumericStatistics(name="income", count=self.rows, mean=10.0, m2=400.0, missing=0)],
            categorical=[
                messages.CategoricalStatistics(name="region", counts={"a": self.rows - 40, "b": 40}, other=0, missing=0)
            ],
        )

    def _on_work_order(self, signed: Signed) -> messages.WorkAnswer | None:
        order = self.portal.open(signed, messages.WorkOrder)
        self.portal.attend(order.run)
        step: Callable[[messages.WorkOrder], messages.ReceiptAnswer] = getattr(self, f"_{order.kind}")
        return step(order).next

    def _train(self, order: messages.WorkOrder) -> messages.ReceiptAnswer:
        self.gate.pass_through("train")
        plan, manifest = self._terms(order.run)
        if plan.privacy.secure_aggregation is not None:
            return self._ready(order, plan, manifest.inputs)
        statement = self._outbox.get((order.run, order.round, order.attempt)) or self._finish(order)
        for phase in self.behaviour.get("phases", ()):
            self.portal.progress(messages.Progress(run=order.run, round=order.round, attempt=order.attempt, phase=phase))
        self.gate.pass_through("send")
        if self.behaviour.pop("spoilt", False):
            self._send_spoilt(order)
        if part_bytes := self.behaviour.get("part_bytes"):
            return self._in_parts(statement, part_bytes)
        return self.portal.update(statement, self._update_path(statement), lambda *_: None)

    # ------------------------------------------------------------------ in a cohort
    def _ready(self, order: messages.WorkOrder, plan: Plan, inputs: int) -> messages.ReceiptAnswer:
        ready = UpdateReady(
            run=order.run, manifest_digest=order.manifest_digest, round=order.round, attempt=order.attempt,
            base_number=order.base_number, base_digest=order.base_digest, institution=self.slug,
            agent_id=self.portal.identity.agent_id, rows=self.rows, steps=3, training_s=0.1, plain_bytes=1000,
            environment=ENVIRONMENT,
        )
        self._plain[order.run, order.round, order.attempt] = ready, order, self.difference(order, plan, inputs)
        return self.portal.ready(order.run, self._sign(ready))

    def _on_cohort_notice(self, signed: Signed) -> messages.WorkAnswer | None:
        notice, key = self.portal.open(signed, CohortNotice), self.home.key
        self.portal.attend(notice.run)
        if notice.round == 0:
            return self._sum_statistics(notice)
        self.gate.pass_through(notice.stage)
        party = self._parties.get(notice.rid)
        match notice.stage:
            case "keys":
                party = party or Party.join(notice.content, own=notice.content, institution=self.slug, identity=key)
                said = party.advertisement
            case "shares":
                party = party.share(notice.content, identity=key)
                said = party.shares
            case "masked":
                return self._masked(notice, party.receive(notice.content))
            case "consistency":
                party = party.confirm(notice.content, identity=key)
                said = party.consistency
            case _:
                party = party.unmask(notice.content, identity=key, previous=[])
                said = party.answer
        self._parties[notice.rid] = party
        return self.portal.speak(notice.run, notice.rid, said)

    def _sum_statistics(self, notice: CohortNotice) -> messages.WorkAnswer | None:
        plan = self.home.require_plan(notice.manifest_digest)
        asked = messages.StatisticsOrder(run=notice.run, plan_hash=plan.hash, deadline_utc=INSTANT)
        said, words = statistics_word(self._parties, plan, self.home.key, notice, self._report(asked))
        if words is None:
            return self.portal.speak(notice.run, notice.rid, said)
        return self.portal.masked_statistics(notice.run, notice.rid, said, words).next

    def _masked(self, notice: CohortNotice, party: Party) -> messages.WorkAnswer | None:
        ready, order, plain = self._plain[notice.run, notice.round, notice.attempt]
        ring, factor, segments = party.cohort.ring, party.cohort.factor_of(self.slug), party.terms.segments
        parts = {UPDATE: quantise(plain, segments[0], factor=factor).integers} if order.kind == "train" else {}
        if count_segments(segments):
            parts |= evaluation_integers(self._counts(order), self._terms(order.run)[0].evaluation.bins, segments)
        party, masked = party.mask(ring.encode(parts), identity=self.home.key)
        self._parties[notice.rid] = party
        data = masked.tobytes()
        statement = self._sign(messages.UpdateManifest(
            run=ready.run, manifest_digest=ready.manifest_digest, round=ready.round, attempt=ready.attempt,
            base_number=ready.base_number, base_digest=ready.base_digest, institution=self.slug, agent_id=ready.agent_id,
            update_digest=sha256_hex(data), update_bytes=len(data), plain_bytes=ready.plain_bytes,
            rows=self.rows, norm=None, steps=3, train_loss=None, training_s=0.1, masked=party.masked, environment=ENVIRONMENT,
        ))
        self._update_path(statement).write_bytes(data)
        return self.portal.update(statement, self._update_path(statement), lambda *_: None).next

    @staticmethod
    def _counts(order: messages.WorkOrder) -> messages.EvaluationCounts:
        return messages.EvaluationCounts(
            number=order.base_number, version_digest=order.base_digest, validation=SPLIT, holdout=SPLIT
        )

    def _finish(self, order: messages.WorkOrder) -> Signed:
        """Make the update once; from then on only these bytes are sent."""
        if order.base_number:
            self.portal.model(order.run, order.base_number, size=order.base_bytes, digest=order.base_digest)
        plan, manifest = self._terms(order.run)
        data = pack(self.difference(order, plan, manifest.inputs), layout_of(plan, manifest.inputs))
        counts = self._counts(order) if order.evaluate else None
        statement = self._sign(messages.UpdateManifest(
            run=order.run, manifest_digest=order.manifest_digest, round=order.round, attempt=order.attempt,
            base_number=order.base_number, base_digest=order.base_digest, institution=self.slug,
            agent_id=self.portal.identity.agent_id, update_digest=sha256_hex(data), update_bytes=len(data),
            plain_bytes=len(data), rows=self.rows, norm=1.0, steps=3, train_loss=0.5, training_s=0.1, counts=counts,
            environment=ENVIRONMENT,
        ))
        self._update_path(statement).write_bytes(data)
        self._outbox[order.run, order.round, order.attempt] = statement
        return statement

    def difference(self, order: messages.WorkOrder, plan: Plan, inputs: int) -> Any:
        seed = int.from_bytes(hashlib.sha256(f"{self.slug}\n{order.base_digest}".encode()).digest()[:8], "big")
        size = layout_of(plan, inputs).parameters
        return np.random.default_rng(seed).normal(size=size).astype(np.float32)

    def _terms(self, run: str) -> tuple[Plan, messages.RunManifest]:
        answer = self.portal.manifest(run)
        manifest = self.portal.open(answer.manifest, messages.RunManifest)
        return self.home.require_plan(manifest.plan_hash), manifest

    def _update_path(self, statement: Signed) -> Path:
        return self.home.path / f"{statement.document['update_digest']}.safetensors"

    def _send_spoilt(self, order: messages.WorkOrder) -> None:
        """Numbers that are none, before the good ones."""
        plan, manifest = self._terms(order.run)
        layout = layout_of(plan, manifest.inputs)
        data = pack(np.full(layout.parameters, np.nan, np.float32), layout)
        good = parse(messages.UpdateManifest, self._outbox[order.run, order.round, order.attempt].document)
        spoilt = self._sign(good.model_copy(update={"update_digest": sha256_hex(data)}))
        self._update_path(spoilt).write_bytes(data)
        with suppress(NotFinite):
            self.portal.update(spoilt, self._update_path(spoilt), lambda *_: None)

    def _in_parts(self, statement: Signed, part_bytes: int) -> messages.ReceiptAnswer:
        """As the agent does, with parts small enough that there are several, the last one first."""
        run, data = statement.document["run"], self._update_path(statement).read_bytes()
        request = canonical(messages.UploadRequest(manifest=statement, part_bytes=part_bytes))
        state = self.portal._post("uploads", request, messages.UploadState, run)
        for part in sorted(set(range(state.parts)) - set(state.received), reverse=True):
            piece = data[part * part_bytes : (part + 1) * part_bytes]
            path = f"uploads/{state.id}/parts/{part}"
            self.transport.exchange("PUT", path, body=piece, content_type="application/octet-stream")
        body = canonical(messages.UploadComplete(update_digest=statement.document["update_digest"]))
        return self.portal._post_statement(f"uploads/{state.id}/complete", body, "application/json", statement, run)

    def _evaluate(self, order: messages.WorkOrder) -> messages.ReceiptAnswer:
        plan, manifest = self._terms(order.run)
        if plan.privacy.secure_aggregation is not None:
            return self._ready(order, plan, manifest.inputs)
        counts = self._counts(order)
        return self.portal.evaluation(order.run, self._sign(messages.EvaluationReport(
            run=order.run, manifest_digest=order.manifest_digest, institution=self.slug, counts=counts
        )))

    def _collect(self, order: messages.WorkOrder) -> messages.ReceiptAnswer:
        self.portal.model(order.run, order.base_number, size=order.base_bytes, digest=order.base_digest)
        return self.portal.acknowledge(order.run, self._sign(messages.Acknowledgement(
            run=order.run, manifest_digest=order.manifest_digest, institution=self.slug, number=order.base_number,
            version_digest=order.base_digest, at_utc=INSTANT,
        )))

    def _sign(self, document: Document) -> Signed:
        return self._said.setdefault(canonical(document), sign_document(document, self.home.key))


def receipts_of(home: Home) -> list[messages.Receipt]:
    """What this bank was promised."""
    stored = [read_document(path, StoredReceipt) for path in home.receipt_paths()]
    return [parse(messages.Receipt, one.receipt.document) for one in stored if one]
