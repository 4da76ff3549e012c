"""What banks said of the privacy that a run has cost their customers."""

from __future__ import annotations

from rounds.models import Run, Update


def epsilon_after(run: Run, number: int) -> float | None:
    """The worst bank's epsilon up to round ``number``, cumulative; None without differential privacy."""
    if run.plan.document.privacy.record_dp is None:
        return None
    updates = Update.objects.filter(participation__round__run=run, participation__round__number__lte=number)
    said = [manifest["document"].get("privacy") for manifest in updates.values_list("manifest", flat=True)]
    return max((statement["run_epsilon"] for statement in said if statement), default=None)
