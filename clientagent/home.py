"""The agent's directory: what this installation is, knows and has said. Nothing else knows where a file lies.

``key.pem`` (made here, mode 0600, never sent), ``agent.json`` (who we are, which portal, its pinned root key),
``policy.toml`` (what the bank accepts), ``plans/`` and ``approvals/`` (what was seen and decided), ``heads/`` (the last
ledger heads), ``opened.jsonl`` (sums that we helped to open), ``runs/`` (see ``runs.py``), ``receipts/`` (what left the bank),
``privacy/`` (what its customers' privacy was spent on) and ``models/`` (what the bank gained).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal

from clientagent.files import append_line, read_document, read_unsynced, write_atomic, write_document
from clientagent.lock import held
from clientagent.runs import RunFolder
from clientagent.wire.canonical import canonical, parse_json
from clientagent.wire.errors import Malformed, NotEnrolled, NotFound
from clientagent.wire.messages import Decision, Digest, Enrolment, Head, HeadUpdate, Id, Message, PlanDocument, Receipt
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.secure_messages import Opened
from clientagent.wire.signing import PrivateKey, PublicKey, Signed, parse

State = Literal["pending", "approved", "revoked"]
DEFAULT = Path("~/.fedagent")


class Identity(Message):
    """``agent.json``: this installation, and the portal that it trusts."""

    portal: str
    root_key: str
    agent_id: Id
    institution: str
    institution_name: str
    name: str
    key_fingerprint: Digest
    state: State

    @property
    def root(self) -> PublicKey:
        return PublicKey.from_text(self.root_key)


class StoredReceipt(Message):
    """A receipt and the statement of ours that it answers."""

    receipt: Signed
    statement: Signed


class StoredDecision(Message):
    """Our word on a plan. ``posted`` once the portal has it."""

    decision: Signed
    posted: bool = False

    @property
    def said(self) -> Decision:
        return parse(Decision, self.decision.document)


class Evidence(Message):
    """Two heads of one chain that the portal signed and of which one does not extend the other."""

    known: Signed | None
    shown: HeadUpdate


class Activity(Message):
    """When the running agent was last in touch, and what troubled it, for ``fedagent status``."""

    at_utc: str
    problem: str = ""


class Home:
    """One installation's directory."""

    def __init__(self, path: Path | str = DEFAULT) -> None:
        self.path = Path(path).expanduser().absolute()
        self.policy_path = self.path / "policy.toml"
        self.key_path = self.path / "key.pem"
        self.lock_path = self.path / "lock"
        self.privacy_path = self.path / "privacy"
        self._state: State | None = None

    # ------------------------------------------------------------------ identity
    @cached_property
    def key(self) -> PrivateKey:
        try:
            return PrivateKey.from_pem(self.key_path.read_bytes())
        except FileNotFoundError as error:
            raise NotEnrolled(expected=f"a key at {self.key_path}", got="none") from error

    def make_key(self) -> PrivateKey:
        """The key of this home, made on first use. A second call (an enrolment tried again) finds the same key."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.key_path.exists():
            write_atomic(self.key_path, PrivateKey.generate().to_pem())
        return self.key

    @property
    def identity(self) -> Identity | None:
        return read_document(self.path / "agent.json", Identity)

    def require_identity(self) -> Identity:
        identity = self.identity
        if identity is None:
            raise NotEnrolled(expected=f"an enrolled agent in {self.path}", got="no agent.json there")
        return identity

    def remember(self, enrolment: Enrolment, *, portal: str, name: str) -> Identity:
        """Pin the portal and its root key, or note a new state of the enrolment."""
        identity = Identity(
            portal=portal, root_key=enrolment.root_key, agent_id=enrolment.agent_id, institution=enrolment.institution,
            institution_name=enrolment.institution_name, name=name, key_fingerprint=enrolment.key_fingerprint,
            state=enrolment.state,
        )
        write_document(self.path / "agent.json", identity)
        self._state = identity.state
        return identity

    def note_state(self, state: State) -> None:
        """Where the enrolment stands, as seen from an answer; written only when it is news."""
        if self._state != state:
            write_document(self.path / "agent.json", self.require_identity().model_copy(update={"state": state}))
            self._state = state

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One agent process for each home. Raises ``NotAllowed`` naming the process that holds it."""
        with held(self.lock_path):
            yield

    # ----------------------------------------------------------- plans, decisions
    def save_plan(self, signed: Signed) -> Plan:
        """Keep a plan as the portal signed it. The caller has verified it."""
        document = parse(PlanDocument, signed.document)
        write_document(self.path / "plans" / f"{document.plan_hash}.json", signed)
        return parse_plan(document.plan)

    def plan(self, plan_hash: str) -> Plan | None:
        signed = read_document(self.path / "plans" / f"{plan_hash}.json", Signed)
        return parse_plan(parse(PlanDocument, signed.document).plan) if signed else None

    def require_plan(self, plan_hash: str) -> Plan:
        plan = self.plan(plan_hash)
        if plan is None:
            raise NotFound(expected=f"the plan {plan_hash}", got="no such file")
        return plan

    def plan_hashes(self) -> list[str]:
        return sorted(path.stem for path in (self.path / "plans").glob("*.json"))

    def resolve_hash(self, text: str) -> str:
        """A whole hash from its beginning (at least 6 digits). Raises ``NotFound`` for none or several."""
        matches = [known for known in self.plan_hashes() if known.startswith(text.lower())]
        if len(text) >= 6 and len(matches) == 1:
            return matches[0]
        raise NotFound(
            expected="the hash of one known plan, or its first 6 digits or more", got=text,
            action="See the known plans with 'fedagent plans', or give the whole hash to fetch it.",
        )

    def decision(self, plan_hash: str) -> StoredDecision | None:
        return read_document(self.path / "approvals" / f"{plan_hash}.json", StoredDecision)

    def save_decision(self, stored: StoredDecision) -> None:
        write_document(self.path / "approvals" / f"{stored.said.plan_hash}.json", stored)

    @property
    def decisions_state(self) -> tuple[int, ...]:
        """Changes whenever ``policy.toml`` or a decision does: a look at two times instead of at every file."""
        paths = (self.policy_path, self.path / "approvals")
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)

    def is_approved(self, plan_hash: str) -> bool:
        stored = self.decision(plan_hash)
        return stored is not None and stored.said.decision == "approved"

    # ------------------------------------------------------------- ledger heads
    def head(self, chain: str) -> Head | None:
        signed = read_unsynced(self._head_path(chain), Signed)
        return parse(Head, signed.document) if signed else None

    def save_head(self, signed: Signed) -> None:
        """Not synced, as it comes with each answer: an older head, after a power cut, still holds the portal to its word."""
        write_document(self._head_path(str(signed.document["chain"])), signed, sync=False)

    def save_evidence(self, head: Head, shown: HeadUpdate) -> None:
        """A head that does not extend the one we know: both bear the portal's signature, so this file proves it."""
        known = read_unsynced(self._head_path(head.chain), Signed)
        name = f"{_file_name(head.chain)}-{head.epoch}-{head.seq}.json"
        write_document(self.path / "evidence" / name, Evidence(known=known, shown=shown))

    def heads(self) -> list[Head]:
        signed = [read_unsynced(path, Signed) for path in sorted((self.path / "heads").glob("*.json"))]
        return [parse(Head, one.document) for one in signed if one]

    def _head_path(self, chain: str) -> Path:
        return self.path / "heads" / f"{_file_name(chain)}.json"

    # ------------------------------------------------------- secure aggregation
    def opened(self) -> list[Opened]:
        """Every sum that this bank helped to open. Raises ``Malformed`` for a line that nobody wrote."""
        path = self.path / "opened.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        return [parse(Opened, parse_json(line)) for line in lines[:-1] if line]  # a torn last line was never acted upon

    def note_opened(self, opened: Opened) -> None:
        """On disk before the answer that opens it leaves."""
        if opened not in self.opened():
            append_line(self.path / "opened.jsonl", canonical(opened))

    # -------------------------------------------------------- receipts, activity
    def save_receipt(self, receipt: Receipt, stored: StoredReceipt) -> None:
        write_document(self.path / "receipts" / f"{receipt.id}.json", stored, settle=False)

    def receipt_paths(self) -> list[Path]:
        return sorted((self.path / "receipts").glob("*.json"))

    @property
    def activity(self) -> Activity | None:
        return read_unsynced(self.path / "activity.json", Activity)

    def save_activity(self, activity: Activity) -> None:
        write_document(self.path / "activity.json", activity, sync=False)

    # ---------------------------------------------------------------------- runs
    def run(self, run_id: str) -> RunFolder:
        return RunFolder(self.path / "runs" / _file_name(run_id))

    def runs(self) -> list[RunFolder]:
        folders = sorted((self.path / "runs").glob("*/"), key=os.path.getmtime)
        return [RunFolder(folder) for folder in folders]

    def model_folder(self, run_id: str, number: int) -> Path:
        return self.path / "models" / f"{_file_name(run_id)}-{number}"


def _file_name(text: str) -> str:
    """A name that stays inside its folder, whatever the portal called the thing."""
    name = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in text)
    if not name or len(name) > 200:
        raise Malformed(expected="a short name", got=text[:60])
    return name
