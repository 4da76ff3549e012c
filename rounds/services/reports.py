"""A leakage self-test or a rehearsal is attached to a plan's page, and that it was is on the project's chain."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import transaction
from pydantic import BaseModel, ValidationError

from audit.services import append
from clientagent.wire.canonical import canonical, parse_json, sha256_hex
from clientagent.wire.errors import Malformed, NotAllowed, TooLarge
from clientagent.wire.leakage import LeakTest
from institutions.models import Institution
from rounds.models import LeakReport, Plan, RehearsalReport
from rounds.rehearsal.result import Rehearsal, is_of
from rounds.services.moves import actor_of

T = TypeVar("T", bound=BaseModel)
MAX_BYTES, MOST_REPORTS = 64 * 1024, 50
MAX_REHEARSAL_BYTES = 4 * 2**20
REHEARSE = "simulate PLAN.yaml --json FILE"


def read_leak_test(data: bytes) -> LeakTest:
    """Raises ``TooLarge`` and ``Malformed``."""
    return _read(LeakTest, data, most=MAX_BYTES, command="fedagent leaktest --plan HASH --json")


def read_rehearsal(data: bytes) -> Rehearsal:
    """Raises ``TooLarge`` and ``Malformed``."""
    return _read(Rehearsal, data, most=MAX_REHEARSAL_BYTES, command=REHEARSE)


def attach_leak_test(*, plan: Plan, test: LeakTest, institution: Institution | None, user: Any) -> LeakReport:
    """Show a self-test on its plan's page. The same one again changes nothing. Raises ``NotAllowed``."""
    if test.plan_hash != plan.hash:
        raise NotAllowed(
            expected=f"a self-test of plan {plan.hash[:16]}", got=f"one of {test.plan_hash[:16]}",
            action=f"Run: fedagent leaktest --plan {plan.hash} --json",
        )
    report: LeakReport = _attach(LeakReport, "leak_test_attached", plan, test, institution, user)
    return report


def attach_rehearsal(*, plan: Plan, rehearsal: Rehearsal, institution: Institution | None, user: Any) -> RehearsalReport:
    """Show a rehearsal on the page of its plan. The same one again changes nothing. Raises ``NotAllowed``."""
    if not is_of(rehearsal, plan.document):
        raise NotAllowed(
            expected="a rehearsal of this plan, on whatever banks", got=f"one of plan {rehearsal.plan_hash[:16]}",
            action=f"Save this plan as YAML and run: {REHEARSE}, without --set, --seed and --by.",
        )
    report: RehearsalReport = _attach(RehearsalReport, "rehearsal_attached", plan, rehearsal, institution, user)
    return report


def _read(kind: type[T], data: bytes, *, most: int, command: str) -> T:
    if len(data) > most:
        raise TooLarge(expected=f"at most {most} bytes", got=f"{len(data)} bytes")
    try:
        return kind.model_validate(parse_json(data))
    except (ValidationError, Malformed) as error:
        raise Malformed(
            expected=f"what '{command}' wrote", got="another file",
            action="Run that command, keep what it writes in a file, and attach that file.",
        ) from error


@transaction.atomic(durable=True)
def _attach(table: Any, kind: str, plan: Plan, document: BaseModel, institution: Institution | None, user: Any) -> Any:
    text = canonical(document)
    known = table.objects.filter(plan=plan, digest=sha256_hex(text)).first()
    if known:
        return known
    if table.objects.filter(plan=plan).count() >= MOST_REPORTS:
        raise NotAllowed(
            expected=f"at most {MOST_REPORTS} reports of a kind on a plan", got="one more", action="Those that are there stay."
        )
    report = table.objects.create(plan=plan, text=text.decode(), digest=sha256_hex(text), institution=institution, attached_by=user)
    append(
        chain=plan.project.chain, kind=kind, actor=actor_of(user),
        body={"plan_hash": plan.hash, "digest": report.digest, "institution": institution.slug if institution else None},
    )
    return report
