"""What the harness asks of a scratch portal's database, in a process of its own: set-up, an administrator's verbs, and the truth.

Runs in a child of the nursery. Every function here is a call that ``processes.Console`` can make.
"""

from __future__ import annotations

import hashlib
from multiprocessing.connection import Client
from typing import Any


def serve(address: str) -> None:
    """Answer calls until the harness hangs up."""
    from django.db import close_old_connections

    with Client(address, family="AF_UNIX") as line:
        while True:
            try:
                verb, args, kwargs = line.recv()
            except EOFError:
                return
            try:
                line.send(("returned", globals()[verb](*args, **kwargs)))
            except Exception as error:
                line.send(("raised", RuntimeError(f"{type(error).__name__}: {error}")))
            finally:
                close_old_connections()


# -------------------------------------------------------------------------- set-up
def found(slugs: list[str]) -> dict[str, str]:
    """An administrator, a project and its institutions; returns a code of enrolment for each."""
    from institutions import services as people
    from institutions.services import create_administrator
    from rounds import services

    admin = create_administrator(email="admin@consortium.example", password=None, name="Ada")
    banks = [people.invite_institution(slug=slug, name=slug.title(), by=admin) for slug in slugs]
    services.create_project(slug="retail", name="Retail credit", purpose="credit", participants=banks, user=admin)
    return {bank.slug: people.issue_enrolment_code(institution=bank, by=admin).code for bank in banks}


def approve(agent_id: str, fingerprint: str) -> None:
    from institutions.models import Agent
    from institutions.services import approve_agent

    approve_agent(agent=Agent.objects.get(pk=agent_id), fingerprint=fingerprint, by=_admin())


def freeze(document: dict[str, Any]) -> str:
    from clientagent.wire.plan import parse_plan
    from rounds import services
    from rounds.models import Project

    plan = services.freeze_plan(project=Project.objects.get(slug="retail"), plan=parse_plan(document), user=_admin())
    return plan.hash


def propose(plan_hash: str) -> str:
    from rounds import services
    from rounds.models import Plan

    return str(services.propose_run(plan=Plan.objects.get(hash=plan_hash), user=_admin()).pk)


def draft(plan_hash: str) -> str:
    """A run in draft, which no door leaves behind: proposing makes and moves it in one transaction."""
    from rounds.models import Plan, Run

    plan = Plan.objects.get(hash=plan_hash)
    return str(Run.objects.create(plan=plan, number=Run.objects.filter(plan__project=plan.project).count() + 1).pk)


def session() -> tuple[str, str]:
    """The cookie of a browser in which the administrator is signed in."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    admin, store = _admin(), SessionStore()
    store[SESSION_KEY], store[HASH_SESSION_KEY] = str(admin.pk), admin.get_session_auth_hash()
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store.create()
    return settings.SESSION_COOKIE_NAME, store.session_key


# ----------------------------------------------------------------- the administrator
def act(verb: str, run: str, **said: Any) -> None:
    """``services.VERB`` for this run, by the administrator."""
    from institutions.models import Institution
    from rounds import services
    from rounds.models import Run

    if "institution" in said:
        said["institution"] = Institution.objects.get(slug=said["institution"])
    if verb != "fail_run":
        said["user"] = _admin()
    getattr(services, verb)(run=Run.objects.get(pk=run), **said)


def advance(run: str) -> None:
    from rounds.engine import steps

    steps.advance(run)


def race(verb: str, round_: int, at: float) -> bool:
    """At this instant, make one guarded move of a round; whether it was ours."""
    import os
    import time

    from rounds import services
    from rounds.models import Round

    row = Round.objects.get(pk=round_)
    said = {"owner": f"racer-{os.getpid()}"} if verb == "claim_round" else {}
    time.sleep(max(0.0, at - time.time()))
    return bool(getattr(services, verb)(round_=row, **said))


# --------------------------------------------------------------------------- the truth
def runs(plan_hash: str) -> list[str]:
    from rounds.models import Run

    return [str(pk) for pk in Run.objects.filter(plan__hash=plan_hash).order_by("number").values_list("pk", flat=True)]


def look(run: str) -> dict[str, Any]:
    from rounds.models import Participation, Run

    row = Run.objects.get(pk=run)
    rounds = row.rounds.filter(only_counts=False).order_by("number", "attempt")
    last = rounds.last()
    phases = Participation.objects.filter(round=last).values_list("institution__slug", "phase") if last else []
    return {
        "state": row.state, "reason": row.reason, "closing": row.closing_at is not None,
        "rounds": [(r.number, r.attempt, r.state) for r in rounds], "round_pk": last.pk if last else None,
        "seats": dict(row.seats.values_list("institution__slug", "state")), "phases": dict(phases),
        "versions": list(row.versions.order_by("number").values_list("number", "digest")),
        "selected": row.selected.digest if row.selected else None,
        "unacknowledged": row.seats.filter(state="seated", acknowledged_at=None).count(),
        "lease_owner": last.lease_owner if last else "", "stages": list(last.cohorts.values_list("stage", flat=True)) if last else [],
    }


def verify_all() -> int:
    """Verify every chain from its rows; returns how many. Raises ``LedgerBroken``."""
    from audit.models import Chain
    from audit.selectors import verify

    names = list(Chain.objects.values_list("name", flat=True))
    for name in names:
        verify(name)
    return len(names)


def unknown_entries(entries: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    """Which of these (chain, seq, hash), as receipts name them, the ledger does not hold."""
    from audit.selectors import hash_at

    return [(chain, seq, hash_) for chain, seq, hash_ in entries if hash_at(chain, seq) != hash_]


def kinds(run: str) -> list[str]:
    from audit.selectors import entries_of

    return [entry.kind for entry in entries_of(f"run/{run}")]


def accepted(run: str) -> list[tuple[str, int, int]]:
    """(institution, round, attempt) of each update that the ledger says was accepted."""
    from audit.selectors import entries_of

    found = [entry.body for entry in entries_of(f"run/{run}") if entry.kind == "update_accepted"]
    return [(body["institution"], body["round"], body["attempt"]) for body in found]


def aggregations() -> list[tuple[str, str]]:
    """(what was aggregated, what came of it) of each published round: equal firsts must have equal seconds."""
    from clientagent.wire.canonical import canonical
    from rounds.models import ModelVersion

    pairs = []
    for version in ModelVersion.objects.exclude(round=None).select_related("round"):
        said = {name: version.round.aggregation[name] for name in ("base_digest", "strategy", "entries")}
        pairs.append((hashlib.sha256(canonical(said)).hexdigest(), version.digest))
    return pairs


def replay(run: str) -> list[tuple[str, str]]:
    """(published digest, digest computed anew from the manifest) of each version."""
    import numpy as np

    from clientagent.wire.messages import AggregationManifest
    from clientagent.wire.tensors import pack, unpack
    from clientagent.wire.weights import layout_of
    from rounds.models import Run
    from rounds.storage import blobs

    row = Run.objects.get(pk=run)
    layout = layout_of(row.plan.document, row.inputs)
    pairs = []
    for version in row.versions.exclude(round=None).select_related("round", "parent"):
        manifest = AggregationManifest.model_validate(version.round.aggregation)
        total = _opened(version.round) if manifest.cohort else np.zeros(layout.parameters, np.float64)
        for entry in () if manifest.cohort else manifest.entries:
            update = unpack(b"".join(blobs.read(entry.update_digest)), layout)
            total += entry.weight * update.astype(np.float64)
        base = unpack(b"".join(blobs.read(manifest.base_digest)), layout)
        data = pack((base.astype(np.float64) + total).astype(np.float32), layout)
        pairs.append((version.digest, hashlib.sha256(data).hexdigest()))
    return pairs


def _opened(round_: Any) -> Any:
    """The mean of a masked round, opened anew from the banks' words and vectors."""
    import numpy as np

    from clientagent.wire.masking import array_reader, open_sum, remaining_masks
    from rounds.selectors.cohorts import collector_of
    from rounds.storage import blobs

    collector = collector_of(round_.cohorts.get(stage="done"))
    vectors = [np.frombuffer(b"".join(blobs.read(digest)), "<u4") for digest in collector.inputs.values()]
    blocks = open_sum(collector.cohort.ring, [array_reader(vector) for vector in vectors], remaining_masks(collector))
    total = np.concatenate([block.values for block in blocks if block.segment.name == "update"])
    return (total / collector.cohort.divisor_of(collector.survivors)).astype(np.float32).astype(np.float64)


def damaged_blobs() -> list[str]:
    """Digests that rows name and whose bytes are not there, or are others."""
    from rounds.models import Blob
    from rounds.storage import blobs

    def digest_on_disk(digest: str) -> str:
        try:
            return hashlib.sha256(b"".join(blobs.read(digest))).hexdigest()
        except FileNotFoundError:
            return "missing"

    return [digest for digest in Blob.objects.values_list("digest", flat=True) if digest_on_disk(digest) != digest]


def points() -> tuple[str, ...]:
    from rounds.crashing import POINTS

    return POINTS


def _admin() -> Any:
    from institutions.models import User

    return User.objects.get(email="admin@consortium.example")
