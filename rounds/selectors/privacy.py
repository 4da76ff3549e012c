"""What runs have cost the banks and their customers, and what remains of their budgets, as pages and agents ask for it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Max
from django.utils.translation import gettext as _

from clientagent.wire.combinations import Conflict
from clientagent.wire.messages import PrivacyEvent, PrivacyPosition, SpentRelease
from clientagent.wire.messages.privacy import PROJECT, Unit
from clientagent.wire.plan import Plan as PlanSchema
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import summed_delta
from clientagent.wire.privacy.terms import not_covered
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds.lifecycle import RUN_ENDED
from rounds.models import PrivacyAccount, PrivacyRelease, Project, Run
from rounds.selectors.outlooks import account_for, accounts_of, spending_of
from rounds.selectors.scope import Audience


def epsilon_after(run: Run, number: int) -> float | None:
    """The worst bank's epsilon up to round ``number``, cumulative over all that left; None without differential privacy."""
    unit = unit_of(run.plan.document)
    if unit is None:
        return None
    releases = PrivacyRelease.objects.filter(run=run, round__lte=number, account__unit=unit)
    worst: float | None = releases.aggregate(most=Max("run_epsilon"))["most"]
    return worst


def unit_of(plan: PlanSchema) -> Unit | None:
    """Whose privacy a plan's epsilon is about: each customer's where it has record_dp, else each bank's."""
    if plan.privacy.record_dp is not None:
        return "record"
    return "institution" if plan.privacy.institution_dp is not None else None


def position_for(identity: AgentIdentity, subject: str) -> PrivacyPosition:
    """One ledger of this bank as the portal has seen it; empty before its first release. ``subject`` as the bank calls its ledger."""
    unit = "institution" if subject.startswith(PROJECT) else "record"
    accounts = PrivacyAccount.objects.filter(institution_id=identity.institution_id, unit=unit)
    account = accounts.filter(subject=subject.removeprefix(PROJECT) if unit == "institution" else subject).first()
    ended = Run.objects.filter(seats__institution_id=identity.institution_id, state__in=RUN_ENDED).values_list("pk", flat=True)
    word = account.countersigned if account else None
    return PrivacyPosition(
        countersigned=Signed.model_validate(word) if word else None, locked=bool(account and account.locked),
        epoch=account.epoch if account else 0, ended=[str(pk) for pk in ended],
        releases=[SpentRelease(run=str(row.run_id), event=PrivacyEvent.model_validate(row.event)) for row in account.releases.all()]
        if account else [],
    )  # fmt: skip


# ------------------------------------------------------------------------ for pages
@dataclass(frozen=True)
class Line:
    """One bank's ledger for a table. ``of_run``: what the page's run has cost of it; None on a project's page.

    ``allowed``: the project's budget, of a bank as a whole; None where it has none.
    """

    account: PrivacyAccount
    epsilon: float
    promised: float
    of_run: float | None
    allowed: float | None
    delta: float

    @property
    def limit(self) -> float | None:
        """The smaller of the bank's own bound and the project's budget."""
        return min((bound for bound in (self.account.budget, self.allowed) if bound is not None), default=None)

    @property
    def left(self) -> float | None:
        """How much no run has spent or set aside, roughly: epsilons do not add up exactly."""
        return None if self.limit is None else max(self.limit - self.promised, 0.0)

    @property
    def percent(self) -> int:
        return 0 if not self.limit else min(round(100 * self.promised / self.limit), 100)


def lines(audience: Audience, project: Project, run: Run | None = None) -> list[Line]:
    """The ledgers that this project spends from, an operator's own alone; on a project with a budget every bank's."""
    accounts = accounts_of(project)
    of_run = {} if run is None else _spent_in(run)
    if run is not None:
        accounts = [one for one in accounts if one.pk in of_run]
    elif project.institution_epsilon is not None:
        known = {one.institution_id for one in accounts if one.unit == "institution"}
        accounts += [account_for(project, bank) for bank in project.participants.exclude(pk__in=known)]
    seen = [one for one in accounts if audience.sees_figures_of(one.institution_id)]
    return [_line(project, one, of_run.get(one.pk)) for one in sorted(seen, key=lambda one: (one.unit, one.institution.slug))]


def _spent_in(run: Run) -> dict[int, float]:
    return dict(run.privacy_releases.order_by().values_list("account_id").annotate(most=Max("run_epsilon")))


def _line(project: Project, account: PrivacyAccount, of_run: float | None) -> Line:
    spent, promised = spending_of(account)
    delta = summed_delta([account.delta] if account.delta else [], account.whose)
    allowed = project.institution_epsilon if account.unit == "institution" else None
    return Line(account, max(account.epsilon, epsilon_of(spent, delta)), epsilon_of(promised, delta), of_run, allowed, delta)


@dataclass(frozen=True)
class RunPrivacy:
    """What a run promises its banks' customers, what it has cost so far, and what the promise leaves out."""

    epsilon: float
    allowed: float
    lines: list[Line]
    left_out: list[Conflict]

    @property
    def percent(self) -> int:
        return min(round(100 * self.epsilon / self.allowed), 100)

    @property
    def sentences(self) -> list[str]:
        return [_(row.reason) % row.values for row in self.left_out]


def run_privacy(audience: Audience, run: Run) -> RunPrivacy | None:
    """None for a run without record_dp. An operator sees the own bank's spending."""
    plan, unit = run.plan.document, unit_of(run.plan.document)
    part = plan.privacy.record_dp or plan.privacy.institution_dp
    if part is None:
        return None
    own = lines(audience, run.plan.project, run)
    spent = max((line.of_run or 0.0 for line in own if line.account.unit == unit), default=0.0)
    return RunPrivacy(spent, part.epsilon, own, not_covered(plan))
