"""What each bank as a whole may lose in a project: set by the administrator, with a reason, never below what runs already hold."""

from __future__ import annotations

import math
from typing import Any

from django.db import transaction

from audit.services import append
from clientagent.wire.errors import BudgetExceeded, Malformed
from clientagent.wire.privacy.book import ROUNDING
from institutions.models import Institution
from rounds.models import MOST_EPSILON, Project
from rounds.selectors.outlooks import promised_to
from rounds.services.moves import actor_of


@transaction.atomic(durable=True)
def set_budget(*, project: Project, epsilon: float | None, reason: str, user: Any) -> Project:
    """Bound what every run of the project together may cost one bank as a whole; None takes the bound away.

    Raises ``Malformed`` without a reason or for no positive number, ``BudgetExceeded`` below what past runs have cost a bank and open
    ones may yet cost it.
    """
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if not reason.strip():
        raise Malformed(expected="a reason", got="none", action="Say in a sentence why the budget is set so.")
    if epsilon is not None and not (math.isfinite(epsilon) and 0 < epsilon <= MOST_EPSILON):
        raise Malformed(expected=f"an epsilon above 0 and up to {MOST_EPSILON:g}, or none", got=f"{epsilon:g}")
    if epsilon is not None:
        _require_room(project, epsilon)
    was, project.institution_epsilon = project.institution_epsilon, epsilon
    project.save(update_fields=["institution_epsilon"])
    append(
        chain=project.chain, kind="privacy_budget_set", actor=actor_of(user),
        body={"project": project.slug, "epsilon": epsilon, "was": was, "reason": reason.strip()},
    )
    return project


def _require_room(project: Project, epsilon: float) -> None:
    banks = Institution.objects.filter(seats__run__plan__project=project).distinct()
    held = {bank.slug: promised_to(project, bank) for bank in banks}
    if too_much := {slug: cost for slug, cost in sorted(held.items()) if cost > epsilon * ROUNDING}:
        costs = ", ".join(f"{slug} {cost:.4g}" for slug, cost in too_much.items())
        got = f"{epsilon:g}, where runs hold {costs}"
        raise BudgetExceeded(
            expected="a budget that holds what past runs have cost each bank and open ones may yet cost it", got=got,
            action="Stop open runs first, or set a larger budget.",
        )
