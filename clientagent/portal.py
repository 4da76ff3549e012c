"""What an agent can ask of its portal, in types: each answer is parsed and each signed paper verified once, here.

Whatever a caller gets from this module was said by the portal whose root key the bank pinned.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from clientagent.countersigned import check_receipt
from clientagent.home import Home, StoredReceipt
from clientagent.transport import Transport, json_of
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.errors import DigestMismatch, NotFound, PlanHashMismatch, Truncated
from clientagent.wire.messages import (
    Enrolment,
    EnrolmentRequest,
    Head,
    HeadUpdate,
    ManifestAnswer,
    PlanDocument,
    PrivacyPosition,
    Progress,
    Receipt,
    ReceiptAnswer,
    UpdateManifest,
    UploadComplete,
    UploadRequest,
    UploadState,
    WorkAnswer,
)
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.signing import Document, PublicKey, Signed, open_signed, parse
from clientagent.witness import Witness

SINGLE_BYTES = 8 * 2**20
"""The largest body that travels as one request; more goes in parts."""
UPDATE_TYPE = "application/vnd.fedportal.update"
WAIT_S = 25
MAX_SESSIONS = 3
PARTS_AT_ONCE = 3
B = TypeVar("B", bound=BaseModel)
D = TypeVar("D", bound=Document)
Moved = Callable[[int, int], None]
"""Called with (bytes sent, bytes in all)."""


def chain_of(run: str) -> str:
    return f"run/{run}"


def enrol(transport: Transport, request: EnrolmentRequest) -> Signed:
    """POST enrolments. What comes back is not verified yet: nothing is pinned before it."""
    return parse(Signed, json_of(transport.exchange("POST", "enrolments", body=canonical(request))))


class Portal:
    """The portal as this bank's agent sees it."""

    def __init__(self, transport: Transport, home: Home, *, reached: Callable[[str, int | None], None] = lambda *_: None) -> None:
        """``reached`` hears of instants at which a rehearsal may end this process."""
        identity = home.require_identity()
        self.transport = transport
        self.root: PublicKey = identity.root
        self.identity = identity
        self._home = home
        self._witness = Witness(home, self.root)
        self._attending: str | None = None
        self._reached = reached
        self._lock = threading.Lock()

    @property
    def epoch(self) -> int:
        """The latest life of the portal that it has signed to us: 0 until its first restore from a backup."""
        return self._witness.epoch

    def attend(self, run: str) -> None:
        """Requests that belong to no run speak of this run's chain from now on."""
        self._attending = chain_of(run)

    # ------------------------------------------------------------------- reading
    def enrolment(self) -> Enrolment:
        path = f"enrolments/{self.identity.agent_id}"
        return self._open(parse(Signed, json_of(self.transport.exchange("GET", path))), Enrolment)

    def work(self, wait_s: float = WAIT_S) -> tuple[WorkAnswer, Head | None] | None:
        """The next piece of work and the head that was shown when asking, or None after ``wait_s`` seconds without any.

        Whoever does the work first checks its head (``check_head``): then it is known which run a broken ledger stops.
        """
        seen = self._seen()
        response = self.transport.exchange("GET", f"work?wait={wait_s:g}", seen=seen, read_s=wait_s + 15.0)
        if response.status_code == 204:
            return None
        return parse(WorkAnswer, json_of(response)), seen

    def plan(self, plan_hash: str) -> tuple[Signed, Plan]:
        """A plan, signed by the portal and with the hash that was asked for. Raises ``PlanHashMismatch``."""
        signed = parse(Signed, json_of(self.transport.exchange("GET", f"plans/{plan_hash}")))
        document = self._open(signed, PlanDocument)
        plan = parse_plan(document.plan)
        if not plan_hash == document.plan_hash == plan.hash:
            raise PlanHashMismatch(expected=plan_hash, got=f"a plan with the hash {plan.hash}")
        return signed, plan

    def manifest(self, run: str) -> ManifestAnswer:
        """The run's manifest as the portal sends it. Who pins it verifies it (``seating``)."""
        response = self.transport.exchange("GET", f"runs/{run}/manifest", seen=self._seen(run))
        return parse(ManifestAnswer, json_of(response))

    def model(self, run: str, number: int, *, size: int, digest: str) -> bytes:
        """The file of a model version. Raises ``DigestMismatch`` when it is not the one that was promised."""
        return self._file(f"models/{run}/{number}", run, size=size, digest=digest)

    def delta(self, run: str, number: int, *, since: int, most: int) -> bytes:
        """A version as its difference to another that is here, ``most`` bytes at most. Whoever applies it checks the version's digest."""
        return self.transport.download(f"models/{run}/{number}/delta?since={since}", most=most, seen=self._seen(run))

    def state(self, run: str, number: int, *, size: int, digest: str) -> bytes:
        """The server's vectors beside a version. Raises ``DigestMismatch`` when they are not those that were promised."""
        return self._file(f"models/{run}/{number}/state", run, size=size, digest=digest)

    def _file(self, path: str, run: str, *, size: int, digest: str) -> bytes:
        data = self.transport.download(path, most=size, size=size, seen=self._seen(run))
        if (got := sha256_hex(data)) != digest:
            raise DigestMismatch(expected=digest, got=got, action="Do not use this file. Tell the administrator.")
        return data

    def privacy(self, subject: str) -> PrivacyPosition:
        """What the portal has seen of one of our privacy ledgers."""
        response = self.transport.exchange("GET", f"privacy?subject={quote(subject, safe='')}", seen=self._seen())
        return parse(PrivacyPosition, json_of(response))

    def meet_bank(self, statement: Signed) -> Signed:
        """Show where our ledger as a whole stands in a project; the portal's countersignature. Whoever keeps it verifies it."""
        run = str(statement.document["run"])
        return parse(Signed, json_of(self.transport.exchange("POST", "privacy/ledgers", body=canonical(statement), seen=self._seen(run))))

    # ------------------------------------------------------------------ speaking
    def decide(self, plan_hash: str, decision: Signed) -> ReceiptAnswer:
        return self._state(f"plans/{plan_hash}/decisions", decision, run=None)

    def statistics(self, run: str, report: Signed) -> ReceiptAnswer:
        return self._state("statistics", report, run=run)

    def evaluation(self, run: str, report: Signed) -> ReceiptAnswer:
        return self._state("evaluations", report, run=run)

    def appraise(self, run: str, appraisal: Signed) -> ReceiptAnswer:
        return self._state(f"runs/{run}/appraisals", appraisal, run=run)

    def acknowledge(self, run: str, acknowledgement: Signed) -> ReceiptAnswer:
        return self._state(f"runs/{run}/acknowledgements", acknowledgement, run=run)

    def refuse(self, run: str, refusal: Signed) -> ReceiptAnswer:
        return self._state("refusals", refusal, run=run)

    def ready(self, run: str, ready: Signed) -> ReceiptAnswer:
        return self._state("ready", ready, run=run)

    def speak(self, run: str, rid: str, word: Signed, *, round_number: int = 0) -> WorkAnswer | None:
        """Our word in a cohort of this round; the next piece of work, if there is one already."""
        seen, kind = self._seen(run), word.document.get("type")
        self._reached(f"sending:{kind}", round_number)
        response = self.transport.exchange("POST", f"cohorts/{rid}/messages", body=canonical(word), seen=seen)
        self._reached(f"answered:{kind}", round_number)
        if response.status_code == 204:
            return None
        answer = parse(WorkAnswer, json_of(response))
        self.check_head(answer.head, seen)
        return answer.model_copy(update={"head": None})

    def masked_statistics(self, run: str, rid: str, masked: Signed, words: bytes) -> ReceiptAnswer:
        """Our statistics under a mask, with the document that signs them."""
        head = canonical(masked)
        return self._post_statement(f"cohorts/{rid}/vector", len(head).to_bytes(4, "big") + head + words, UPDATE_TYPE, masked, run)

    def progress(self, progress: Progress) -> None:
        """Where we are. Tried once: it may be lost."""
        body, seen = canonical(progress), self._seen(progress.run)
        self.transport.exchange("POST", "progress", body=body, seen=seen, patience_s=0, read_s=5)

    def update(self, manifest: Signed, path: Path, moved: Moved) -> ReceiptAnswer:
        """Send the finished update: in one request when it is small, else in parts that resume."""
        run = str(manifest.document["run"])
        head = canonical(manifest)
        if 4 + len(head) + path.stat().st_size <= SINGLE_BYTES:
            body = len(head).to_bytes(4, "big") + head + path.read_bytes()
            moved(0, len(body))
            return self._post_statement("updates", body, UPDATE_TYPE, manifest, run)
        return self._in_parts(manifest, path, moved, run)

    def _in_parts(self, manifest: Signed, path: Path, moved: Moved, run: str) -> ReceiptAnswer:
        digest = parse(UpdateManifest, manifest.document).update_digest
        for session in range(MAX_SESSIONS):
            request = UploadRequest(manifest=manifest, part_bytes=SINGLE_BYTES)
            state = self._post("uploads", canonical(request), UploadState, run)
            try:
                self._send_missing(state, path, moved, run)
                body = canonical(UploadComplete(update_digest=digest))
                return self._post_statement(f"uploads/{state.id}/complete", body, "application/json", manifest, run)
            except (NotFound, Truncated):  # the portal forgot the session, or a part of it: ask what it has
                if session == MAX_SESSIONS - 1:
                    raise
        raise AssertionError("the last session returned or raised")

    def _send_missing(self, state: UploadState, path: Path, moved: Moved, run: str) -> None:
        """Several parts at a time, so that a long way to the portal does not make a slow one."""
        total, received = path.stat().st_size, set(state.received)
        missing = [part for part in range(state.parts) if part not in received]
        sent = total - sum(min(state.part_bytes, total - part * state.part_bytes) for part in missing)
        moved(sent, total)
        with path.open("rb") as file, ThreadPoolExecutor(PARTS_AT_ONCE, "upload") as threads:

            def send(part: int) -> int:
                data = os.pread(file.fileno(), state.part_bytes, part * state.part_bytes)
                self.transport.exchange(
                    "PUT", f"uploads/{state.id}/parts/{part}", body=data, content_type="application/octet-stream",
                    seen=self._seen(run),
                )
                return len(data)

            try:
                for done in as_completed([threads.submit(send, part) for part in missing]):
                    sent += done.result()
                    moved(sent, total)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    # ------------------------------------------------------------------- inside
    def check_head(self, update: HeadUpdate | None, sent: Head | None = None) -> None:
        """Raises ``LedgerBroken`` when the portal's ledger does not extend what we saw."""
        if update is not None:
            with self._lock:
                self._witness.check(update, sent)

    def open(self, signed: Signed, model: type[D]) -> D:
        """The document, if the portal's root key signed it."""
        return self._open(signed, model)

    def _open(self, signed: Signed, model: type[D]) -> D:
        return open_signed(signed, self.root, model)

    def _seen(self, run: str | None = None) -> Head | None:
        chain = chain_of(run) if run else self._attending
        return self._witness.last(chain) if chain else None

    def _post(self, path: str, body: bytes, answer: type[B], run: str | None) -> B:
        return parse(answer, json_of(self.transport.exchange("POST", path, body=body, seen=self._seen(run))))

    def _state(self, path: str, statement: Signed, *, run: str | None) -> ReceiptAnswer:
        return self._post_statement(path, canonical(statement), "application/json", statement, run)

    def _post_statement(
        self, path: str, body: bytes, content_type: str, statement: Signed, run: str | None
    ) -> ReceiptAnswer:
        """Send a statement; its receipt is verified and kept before anything else happens, and the heads are checked."""
        seen, kind, number = self._seen(run), statement.document.get("type"), statement.document.get("round")
        self._reached(f"sending:{kind}", number)
        response = self.transport.exchange("POST", path, body=body, content_type=content_type, seen=seen)
        self._reached(f"answered:{kind}", number)
        answer = parse(ReceiptAnswer, json_of(response))
        receipt = self._open(answer.receipt, Receipt)
        check_receipt(receipt, statement, self.identity.institution)
        self._home.save_receipt(receipt, StoredReceipt(receipt=answer.receipt, statement=statement))
        self.check_head(answer.head, seen)
        if answer.next is None:
            return answer
        self.check_head(answer.next.head, seen)
        return answer.model_copy(update={"next": answer.next.model_copy(update={"head": None})})
