"""A portal at the edge: real sockets, real signatures, a real ledger, one bank, and the power to misbehave.

It walks one run from plan notice to result as the real portal does. The real one cannot forge a ledger, break a connection in
the middle or swap a manifest; this one does so where a test asks for it.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import socket
import ssl
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from clientagent.wire import messages as m
from clientagent.wire.canonical import canonical, digest_of, parse_json, sha256_hex
from clientagent.wire.codecs import decode
from clientagent.wire.errors import KeyUnknown, Malformed, NotFound, Refusal, Truncated
from clientagent.wire.http import key_id_of, verify_request
from clientagent.wire.ledger import GENESIS, Entry, seal
from clientagent.wire.plan import Plan, as_text
from clientagent.wire.privacy.heads import require_extends
from clientagent.wire.signing import Document, PrivateKey, PublicKey, Signed, open_signed, parse, sign_document
from clientagent.wire.strategies import keeps_own
from clientagent.wire.tensors import Array, pack, unpack
from clientagent.wire.weights import initial_weights, layout_of

INSTANT = "2026-01-01T00:00:00Z"
FAR = "2099-01-01T00:00:00Z"
SECRET = "SECRET-CODE"
SLUG = "north"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Close the connection after so many bytes of the body."""


Intercept = Callable[[Request], Reply | None]


class PortalDouble:
    """Serves one plan to one bank. ``requests`` is what came in; ``intercept`` may answer instead."""

    def __init__(self, plan: Plan | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.key = PrivateKey.generate()
        self.plan = plan
        self.run = str(uuid.uuid4())
        self.agent_id = str(uuid.uuid4())
        self.agent: PublicKey | None = None
        self.state = "approved"
        self.requests: list[Request] = []
        self.intercept: Intercept = lambda request: None
        self.change: Callable[[Document], Document] = lambda document: document
        """Called with each document before it is signed."""
        self.entries: list[tuple[Entry, str]] = []
        self.statements: list[Signed] = []
        self.updates: list[bytes] = []
        self.clips: dict[int, float] = {}  # where the plan's adapts: of each version
        self.project_budget: float | None = None
        self.shown: m.PrivacyCountersignature | None = None  # where the bank's ledger of itself as a whole stood last
        self.receipts: dict[str, Signed] = {}
        self.stage = "notice"
        self.round, self.attempt, self.number = 0, 1, 0
        self.versions: dict[int, Array] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._upload_of: dict[str, Signed] = {}
        self.report: m.StatisticsReport | None = None
        self.manifest: Signed | None = None
        self.spec: m.PreprocessingSpec | None = None
        self.accepted: dict[str, Any] | None = None
        self._nonces: set[str] = set()
        self._lock = threading.RLock()
        self._news = threading.Condition(self._lock)
        self._server = _serve(self, tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        if plan is not None:
            self.record("run_proposed", {
                "run": self.run, "number": 1, "plan_hash": plan.hash, "project": plan.project, "participants": [SLUG],
            })  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def code(self) -> str:
        return f"{SECRET}.{self.key.fingerprint[:32]}"

    @property
    def chain(self) -> str:
        return f"run/{self.run}"

    # ---------------------------------------------------------------------- door
    def answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if (reply := self.intercept(request)) is not None:
                return reply
        try:
            return self._route(request)
        except Refusal as refusal:
            status = 404 if isinstance(refusal, NotFound) else 422
            return Reply(status, json.dumps(refusal.problem()).encode())

    def _route(self, request: Request) -> Reply:
        path, _, query = request.path.removeprefix("/api/v1/").partition("?")
        self._verify(request, enrolling=path == "enrolments")
        for pattern, method in ROUTES:
            if match := re.fullmatch(pattern, f"{request.method} {path}"):
                if path == "work":
                    return self._work(float(query.removeprefix("wait=") or 0))
                with self._lock:
                    return getattr(self, method)(request, *match.groups())
        raise NotFound(expected="a known path", got=path)

    def _verify(self, request: Request, *, enrolling: bool) -> None:
        key = self.agent
        if enrolling:
            key = PublicKey.from_text(parse(m.EnrolmentRequest, parse_json(request.body)).public_key)
        if key is None or key_id_of(request.headers) != key.fingerprint:
            raise KeyUnknown(expected="an enrolled key", got="another")
        verify_request(
            method=request.method, url=self.url + request.path, headers=request.headers, body=request.body, key=key,
            now=dt.datetime.now(dt.UTC), is_fresh_nonce=self._is_fresh,
        )

    def _is_fresh(self, key_id: str, nonce: str) -> bool:
        fresh = nonce not in self._nonces
        self._nonces.add(nonce)
        return fresh

    def sign(self, document: Document) -> Signed:
        return sign_document(self.change(document), self.key)

    def record(self, kind: str, body: dict[str, Any], actor: str = "portal") -> Entry:
        seq = len(self.entries) + 1
        entry = Entry(chain=self.chain, seq=seq, at_utc=INSTANT, kind=kind, actor=actor, body=body)
        self.entries.append((entry, seal(self.entries[-1][1] if self.entries else GENESIS, entry.content_digest)))
        return entry

    def head(self, since: int = 0) -> m.HeadUpdate:
        seq, hash_ = len(self.entries), self.entries[-1][1] if self.entries else GENESIS
        head = self.sign(m.Head(chain=self.chain, seq=seq, hash=hash_, at_utc=INSTANT))
        return m.HeadUpdate(head=head, since_seq=since, links=[entry.content_digest for entry, _ in self.entries[since:]])

    def head_for(self, request: Request) -> m.HeadUpdate:
        seen = request.headers.get("fed-seen", "none").split(";")
        known = {(str(i + 1), hash_) for i, (_, hash_) in enumerate(self.entries)}
        since = int(seen[1]) if len(seen) == 3 and seen[0] == self.chain and (seen[1], seen[2]) in known else 0
        return self.head(since)

    def seen(self) -> list[str]:
        return [request.headers.get("fed-seen", "") for request in self.requests]

    # ------------------------------------------------------------------ enrolment
    def _enrol(self, request: Request) -> Reply:
        wish = parse(m.EnrolmentRequest, parse_json(request.body))
        if not wish.code.startswith(SECRET):
            raise Malformed(expected="the code", got=wish.code)
        self.agent = PublicKey.from_text(wish.public_key)
        return _json(self._enrolment(), 201)

    def _standing(self, request: Request, agent_id: str) -> Reply:
        return _json(self._enrolment())

    def _enrolment(self) -> Signed:
        assert self.agent is not None
        return self.sign(m.Enrolment(
            agent_id=self.agent_id, institution=SLUG, institution_name="North Bank", key_fingerprint=self.agent.fingerprint,
            state=self.state, root_key=self.key.public.text, at_utc=INSTANT,
        ))  # fmt: skip

    # ----------------------------------------------------------------------- work
    def _work(self, wait_s: float) -> Reply:
        with self._news:
            if self._order() is None and wait_s:
                self._news.wait(min(wait_s, 1.0))
            order = self._order()
            request = self.requests[-1]
            return Reply(204) if order is None else _json(m.WorkAnswer(order=self.sign(order), head=self.head_for(request)))

    def next_stage(self, stage: str) -> None:
        with self._news:
            self.stage = stage
            self._news.notify_all()

    def _order(self) -> Document | None:
        plan = self.plan
        if plan is None:
            return None
        if self.stage == "notice":
            return m.PlanNotice(run=self.run, project=plan.project, plan_hash=plan.hash)
        if self.stage == "statistics":
            return m.StatisticsOrder(run=self.run, plan_hash=plan.hash, deadline_utc=FAR)
        if self.stage in ("train", "evaluate", "collect"):
            return self.work_order(self.stage)
        return None

    def work_order(self, kind: str) -> m.WorkOrder:
        assert self.manifest is not None
        data = self.file(self.number)
        used = sha256_hex(self.updates[-1]) if self.updates and self.plan and keeps_own(self.plan) else None
        return m.WorkOrder(
            kind=kind, aggregated=used, run=self.run, institution=SLUG, manifest_digest=self.manifest.digest,
            round=self.round if kind == "train" else self.number, attempt=self.attempt, base_number=self.number,
            base_digest=sha256_hex(data), base_bytes=len(data), evaluate=kind == "train" and self.number > 0, deadline_utc=FAR,
            clip=self.clips[self.number] if self.clips else None,
        )  # fmt: skip

    def file(self, number: int) -> bytes:
        return pack(self.versions[number], self.layout)

    @property
    def layout(self):  # type: ignore[no-untyped-def]
        assert self.plan is not None
        assert self.spec is not None
        return layout_of(self.plan, len(self.spec.input_names))

    def _plan(self, request: Request, plan_hash: str) -> Reply:
        assert self.plan is not None
        return _json(self.sign(m.PlanDocument(plan=self.plan.model_dump(mode="json"), plan_hash=self.plan.hash)))

    def _manifest(self, request: Request, run: str) -> Reply:
        assert self.manifest is not None
        assert self.spec is not None
        return _json(m.ManifestAnswer(manifest=self.manifest, preprocessing=self.spec))

    def _model(self, request: Request, run: str, number: str) -> Reply:
        data = self.file(int(number))
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        return Reply(206 if start else 200, data[start:], {"ETag": f'"{sha256_hex(data)}"'})

    # ----------------------------------------------------------------- statements
    def _open(self, signed: Signed, model: type[Any]) -> Any:
        assert self.agent is not None
        document = open_signed(signed, self.agent, model)
        self.statements.append(signed)
        return document

    def _receipt(self, request: Request, signed: Signed, subject: str, entry: Entry, **more: Any) -> Reply:
        if signed.digest not in self.receipts:
            self.receipts[signed.digest] = self.sign(m.Receipt(
                id=str(uuid.uuid4()), run=self.run, round=self.round, attempt=self.attempt, institution=SLUG, subject=subject,
                document_digest=signed.digest, outcome="accepted", chain=self.chain, seq=entry.seq,
                entry_hash=self.entries[entry.seq - 1][1], at_utc=INSTANT, **more,
            ))  # fmt: skip
        return _json(m.ReceiptAnswer(receipt=self.receipts[signed.digest], head=self.head_for(request)))

    def _decisions(self, request: Request, plan_hash: str) -> Reply:
        signed = parse(Signed, parse_json(request.body))
        word = self._open(signed, m.Decision)
        entry = self.record("plan_decided", {
            "institution": SLUG, "plan_hash": plan_hash, "decision": word.decision, "by": word.by, "reason": word.reason,
            "statement": signed.model_dump(mode="json"),
        })  # fmt: skip
        self.next_stage("statistics" if word.decision == "approved" else "idle")
        return self._receipt(request, signed, "decision", entry)

    def _statistics(self, request: Request) -> Reply:
        signed = parse(Signed, parse_json(request.body))
        if signed.document.get("type") == "unfit":
            unfit = self._open(signed, m.Unfit)
            entry = self.record("institution_unfit", {"institution": SLUG, "column": unfit.column, "reason": unfit.reason})
            self.next_stage("idle")
            return self._receipt(request, signed, "statistics", entry)
        self.report = self._open(signed, m.StatisticsReport)
        entry = self.record("statistics_received", {"institution": SLUG, "rows": self.report.rows})
        self._begin()
        return self._receipt(request, signed, "statistics", entry)

    def _begin(self) -> None:
        assert self.plan is not None
        assert self.report is not None
        assert self.agent is not None
        self.spec = pool(self.plan, self.report)
        inputs = len(self.spec.input_names)
        self.versions[0] = initial_weights(self.plan, inputs)
        own = m.RosterEntry(
            institution=SLUG, agent_id=self.agent_id, public_key=self.agent.text, key_fingerprint=self.agent.fingerprint,
            rows=self.report.rows, validation_rows=self.report.validation_rows, holdout_rows=self.report.holdout_rows, weight=1.0,
        )  # fmt: skip
        self.manifest = self.sign(m.RunManifest(
            run=self.run, project=self.plan.project, plan_hash=self.plan.hash, roster=[own],
            preprocessing_digest=digest_of(self.spec), inputs=inputs, parameters=self.layout.parameters,
            initial_digest=sha256_hex(self.file(0)), created_utc=INSTANT,
        ))  # fmt: skip
        self.record("manifest_signed", {"manifest": self.manifest.model_dump(mode="json")})
        self._publish(0, None, 0, None)
        self.round = 1
        self.next_stage("train")

    def _publish(self, number: int, parent: str | None, round_: int, aggregation: str | None) -> None:
        self.number = number
        self.record("version_published", {
            "number": number, "digest": sha256_hex(self.file(number)), "parent_digest": parent, "round": round_,
            "aggregation_digest": aggregation, "state_digest": None,
        })  # fmt: skip

    def _meet_bank(self, request: Request) -> Reply:
        """As the real portal: the head must go on from the last one, or it is refused."""
        assert self.agent is not None
        said = self._open(parse(Signed, parse_json(request.body)), m.BankPrivacy)
        head = open_signed(said.head.head, self.agent, m.PrivacyHead)
        since = self.shown.hash if self.shown and self.shown.seq == said.head.since_seq else None
        require_extends(head, said.head, self.shown, since)
        self.shown = m.PrivacyCountersignature(
            institution=SLUG, unit="institution", subject=said.project, seq=head.seq, hash=head.hash, epoch=head.epoch,
            budget=self.project_budget, at_utc=INSTANT,
        )  # fmt: skip
        return _json(self.sign(self.shown))

    # -------------------------------------------------------------------- updates
    def _update(self, request: Request) -> Reply:
        size = int.from_bytes(request.body[:4], "big")
        return self._take(request, parse(Signed, parse_json(request.body[4 : 4 + size])), request.body[4 + size :])

    def _open_upload(self, request: Request) -> Reply:
        wish = parse(m.UploadRequest, parse_json(request.body))
        upload = next((key for key, one in self._upload_of.items() if one.digest == wish.manifest.digest), str(uuid.uuid4()))
        self._upload_of[upload] = wish.manifest
        self.uploads.setdefault(upload, {})
        return self._upload_state(upload)

    def _upload_state(self, upload: str) -> Reply:
        total = self._upload_of[upload].document["update_bytes"]
        parts = -(-total // (8 * 2**20))
        return _json(m.UploadState(id=upload, part_bytes=8 * 2**20, parts=parts, received=sorted(self.uploads[upload])))

    def _part(self, request: Request, upload: str, part: str) -> Reply:
        if upload not in self.uploads:
            raise NotFound(expected="an open upload", got=upload)
        self.uploads[upload][int(part)] = request.body
        return self._upload_state(upload)

    def _complete(self, request: Request, upload: str) -> Reply:
        if upload not in self.uploads:
            raise NotFound(expected="an open upload", got=upload)
        data = b"".join(body for _, body in sorted(self.uploads[upload].items()))
        return self._take(request, self._upload_of[upload], data)

    def _take(self, request: Request, signed: Signed, data: bytes) -> Reply:
        manifest = self._open(signed, m.UpdateManifest)
        self.updates.append(data)
        if sha256_hex(data) != manifest.update_digest or len(data) != manifest.update_bytes:
            raise Truncated(expected=manifest.update_digest, got=sha256_hex(data))
        more = {"update_digest": manifest.update_digest, "update_bytes": manifest.update_bytes}
        if signed.digest in self.receipts:
            return self._receipt(request, signed, "update", self.entries[-1][0], **more)
        body = {
            "manifest": signed.model_dump(mode="json"), "round": manifest.round, "attempt": manifest.attempt,
            "institution": SLUG, "update_digest": manifest.update_digest, "rows": manifest.rows,
        }  # fmt: skip
        entry = self.record("update_accepted", body)
        reply = self._receipt(request, signed, "update", entry, **more)
        self._close_round(manifest, self._plain(data))
        return reply

    def _plain(self, data: bytes) -> Array:
        assert self.plan is not None
        if self.plan.compression.codec == "none":
            return unpack(data, self.layout)
        return np.concatenate(list(decode(io.BytesIO(data), self.plan.compression, self.layout.parameters)))

    def _close_round(self, manifest: m.UpdateManifest, update: Array) -> None:
        assert self.plan is not None
        aggregation = m.AggregationManifest(
            run=self.run, round=self.round, attempt=self.attempt, base_number=self.number, base_digest=manifest.base_digest,
            strategy=self.plan.strategy.model_dump(mode="json"),
            participants=1,
            entries=[m.AggregationEntry(
                institution=SLUG, update_digest=manifest.update_digest, rows=manifest.rows, weight=1.0, share=1.0,
                steps=manifest.steps, base_loss=manifest.base_loss,
            )],
        )  # fmt: skip
        self.record("round_closed", {
            "round": self.round, "attempt": self.attempt, "aggregation": aggregation.model_dump(mode="json"),
            "digest": digest_of(aggregation),
        })  # fmt: skip
        self.versions[self.round] = (self.versions[self.number] + update).astype(np.float32)
        self._publish(self.round, manifest.base_digest, self.round, digest_of(aggregation))
        if self.round < self.plan.schedule.rounds:
            self.round, self.attempt = self.round + 1, 1
            self.next_stage("train")
        else:
            self.next_stage("evaluate")

    # ----------------------------------------------------------------------- end
    def _evaluation(self, request: Request) -> Reply:
        signed = parse(Signed, parse_json(request.body))
        report = self._open(signed, m.EvaluationReport)
        entry = self.record("evaluation_received", {"number": report.counts.number, "institution": SLUG})
        self.record("run_finished", {"selected": self.number, "digest": sha256_hex(self.file(self.number)), "select": "last"})
        self.next_stage("collect")
        return self._receipt(request, signed, "evaluation", entry)

    def _appraise(self, request: Request, run: str) -> Reply:
        signed = parse(Signed, parse_json(request.body))
        self.appraisal = self._open(signed, m.Appraisal)
        entry = self.record("result_appraised", {"institution": SLUG, "number": self.appraisal.number})
        return self._receipt(request, signed, "appraisal", entry)

    def _acknowledge(self, request: Request, run: str) -> Reply:
        signed = parse(Signed, parse_json(request.body))
        word = self._open(signed, m.Acknowledgement)
        entry = self.record("result_acknowledged", {"institution": SLUG, "number": word.number, "digest": word.version_digest})
        self.next_stage("done")
        return self._receipt(request, signed, "acknowledgement", entry)

    def _refusal(self, request: Request) -> Reply:
        signed = parse(Signed, parse_json(request.body))
        word = self._open(signed, m.WorkRefusal)
        entry = self.record("work_refused", {"code": word.code, "reason": word.reason})
        self.next_stage("idle")
        return self._receipt(request, signed, "refusal", entry)

    def _progress(self, request: Request) -> Reply:
        parse(m.Progress, parse_json(request.body))
        return Reply(204)

    def history(self) -> dict[str, Any]:
        """The run's history as the portal's export writes it."""
        assert self.plan is not None
        states = {"done": "finished", "collect": "finished", "notice": "proposed"}
        plan = sign_document(m.PlanDocument(plan=self.plan.model_dump(mode="json"), plan_hash=self.plan.hash), self.key)
        return {
            "format": "fedportal-history/1",
            "run": {
                "id": self.run, "number": 1, "project": self.plan.project, "plan_hash": self.plan.hash,
                "state": states.get(self.stage, "running"), "reason": "",
            },
            "portal_key": self.key.public.text,
            "plan": plan.model_dump(mode="json"),
            "manifest": self.manifest.model_dump(mode="json") if self.manifest else None,
            "preprocessing": self.spec.model_dump(mode="json") if self.spec else None,
            "entries": [{"entry": entry.model_dump(mode="json"), "hash": hash_} for entry, hash_ in self.entries],
            "head": self.head().head.model_dump(mode="json"),
        }  # fmt: skip


ID = r"([0-9a-f-]{36})"
ROUTES = [
    (r"POST enrolments", "_enrol"),
    (rf"GET enrolments/{ID}", "_standing"),
    (r"GET work", "_work"),
    (r"GET plans/([0-9a-f]{64})", "_plan"),
    (r"POST plans/([0-9a-f]{64})/decisions", "_decisions"),
    (r"POST statistics", "_statistics"),
    (rf"GET runs/{ID}/manifest", "_manifest"),
    (rf"GET models/{ID}/(\d+)", "_model"),
    (r"POST progress", "_progress"),
    (r"POST updates", "_update"),
    (r"POST uploads", "_open_upload"),
    (rf"PUT uploads/{ID}/parts/(\d+)", "_part"),
    (rf"POST uploads/{ID}/complete", "_complete"),
    (r"POST evaluations", "_evaluation"),
    (rf"POST runs/{ID}/appraisals", "_appraise"),
    (rf"POST runs/{ID}/acknowledgements", "_acknowledge"),
    (r"POST refusals", "_refusal"),
    (r"POST privacy/ledgers", "_meet_bank"),
]


def pool(plan: Plan, report: m.StatisticsReport) -> m.PreprocessingSpec:
    """One bank's moments as the specification of all; enough to train on."""
    numeric = [
        m.NumericInput(
            name=one.name, mean=one.mean, scale=max((one.m2 / max(one.count, 1)) ** 0.5, 1e-6), indicator=one.missing > 0
        )
        for one in report.numeric
    ]  # fmt: skip
    listed = {feature.name: feature.categories for feature in plan.features}
    categorical = [
        m.CategoricalInput(
            name=one.name, categories=[as_text(value) for value in listed[one.name] or sorted(one.counts)],
            other=listed[one.name] is None,
        )
        for one in report.categorical
    ]  # fmt: skip
    return m.PreprocessingSpec(plan_hash=plan.hash, numeric=numeric, categorical=categorical)


def _json(message: Any, status: int = 200) -> Reply:
    return Reply(status, canonical(message), {"Content-Type": "application/json"})


def _serve(portal: PortalDouble, tls: ssl.SSLContext | None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = portal.answer(Request(self.command, self.path, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if reply.cut_after is not None:
                self.wfile.write(reply.body[: reply.cut_after])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif reply.status != 204:
                self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = _handle

        def log_message(self, *args: Any) -> None:
            """Tests read ``requests``."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """An agent that was killed leaves a broken connection; that is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
