"""A leakage self-test is attached to a plan's page, and that it was is on the project's chain."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from pydantic import ValidationError

from audit.services import append
from clientagent.wire.canonical import canonical, parse_json, sha256_hex
from clientagent.wire.errors import Malformed, NotAllowed, TooLarge
from clientagent.wire.leakage import LeakTest
from institutions.models import Institution
from rounds.models import Plan
from rounds.models.leakage import LeakReport
from rounds.services.moves import actor_of

MAX_BYTES, MOST_REPORTS = 64 * 1024, 50


def read_leak_test(data: bytes) -> LeakTest:
    """Raises ``TooLarge`` and ``Malformed``."""
    if len(data) > MAX_BYTES:
        raise TooLarge(expected=f"at most {MAX_BYTES} bytes", got=f"{len(data)} bytes")
    try:
        return LeakTest.model_validate(parse_json(data))
    except (ValidationError, Malformed) as error:
        raise Malformed(
            expected="what 'fedagent leaktest --plan HASH --json' printed", got="another file",
            action="Run that command, keep what it prints in a file, and attach that file.",
        ) from error


@transaction.atomic(durable=True)
def attach_leak_test(*, plan: Plan, test: LeakTest, institution: Institution | None, user: Any) -> LeakReport:
    """Show a self-test on its plan's page. The same one again changes nothing. Raises ``NotAllowed``."""
    if test.plan_hash != plan.hash:
        raise NotAllowed(
            expected=f"a self-test of plan {plan.hash[:16]}", got=f"one of {test.plan_hash[:16]}",
            action=f"Run: fedagent leaktest --plan {plan.hash} --json",
        )
    text = canonical(test)
    known = LeakReport.objects.filter(plan=plan, digest=sha256_hex(text)).first()
    if known:
        return known
    if LeakReport.objects.filter(plan=plan).count() >= MOST_REPORTS:
        raise NotAllowed(
            expected=f"at most {MOST_REPORTS} self-tests of a plan", got="one more", action="Those that are there stay."
        )
    report = LeakReport.objects.create(
        plan=plan, text=text.decode(), digest=sha256_hex(text), institution=institution, attached_by=user
    )
    append(
        chain=plan.project.chain, kind="leak_test_attached", actor=actor_of(user),
        body={"plan_hash": plan.hash, "digest": report.digest, "institution": institution.slug if institution else None},
    )
    return report
