"""What runs have cost the banks' customers, what may yet be spent, and what another run would add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Max
from django.utils.translation import gettext as _

from clientagent.wire.combinations import Conflict
from clientagent.wire.messages import PrivacyEvent, PrivacyPosition, SpentRelease
from clientagent.wire.messages.privacy import Unit
from clientagent.wire.plan import Plan as PlanSchema
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import ROUNDING, allotment_of
from clientagent.wire.privacy.events import Spending, plus, together
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.privacy.terms import RecordTerms, not_covered, record_terms
from clientagent.wire.signing import Signed
from institutions.authentication import AgentIdentity
from rounds.lifecycle import RUN_ENDED, RUN_OPEN
from rounds.models import PrivacyAccount, PrivacyRelease, Project, Run, Seat
from rounds.selectors.scope import Audience

UNKNOWN_ROWS = 10_000
"""Rows of a bank that has declared none yet; terms depend on them only through delta, from 100,000 rows on."""


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
    """One ledger of this bank as the portal has seen it; empty before its first release."""
    account = PrivacyAccount.objects.filter(institution_id=identity.institution_id, unit="record", subject=subject).first()
    ended = Run.objects.filter(seats__institution_id=identity.institution_id, state__in=RUN_ENDED).values_list("pk", flat=True)
    word = account.countersigned if account else None
    return PrivacyPosition(
        countersigned=Signed.model_validate(word) if word else None, locked=bool(account and account.locked),
        epoch=account.epoch if account else 0, ended=[str(pk) for pk in ended],
        releases=[SpentRelease(run=str(row.run_id), event=PrivacyEvent.model_validate(row.event)) for row in account.releases.all()]
        if account else [],
    )  # fmt: skip


@dataclass(frozen=True)
class Outlook:
    """A bank's customers before and after a run. ``budget``: the bank's own bound, None where it set none."""

    slug: str
    name: str
    subject: str
    spent: float
    promised: float
    after: float
    budget: float | None
    delta: float
    locked: bool

    @property
    def fits(self) -> bool:
        return not self.locked and (self.budget is None or self.after <= self.budget * ROUNDING)


def terms_of(plan: PlanSchema, rows: int | None) -> RecordTerms:
    return record_terms(plan, rows or UNKNOWN_ROWS)


def outlooks(project: Project, plan: PlanSchema) -> list[Outlook]:
    """What the plan's customers would have lost at the end, bank by bank, as far as the portal has seen their ledgers.

    A bank whose ledger the portal has not seen in this project is left out: its own agent decides.
    """
    if plan.privacy.record_dp is None:
        return []
    return [
        _outlook(account, plan, _rows_of(project, account)) for account in accounts_of(project)
        if account.unit == "record" and account.institution.slug in plan.participants
    ]


def accounts_of(project: Project) -> list[PrivacyAccount]:
    """The ledgers that runs of this project have spent from."""
    rows = PrivacyAccount.objects.filter(releases__run__plan__project=project).select_related("institution").distinct()
    return list(rows)


def _outlook(account: PrivacyAccount, plan: PlanSchema, rows: int | None) -> Outlook:
    terms = terms_of(plan, rows)
    allotted = allotment_of(terms, run=str(account.pk).rjust(36, "0"), project=plan.project, plan_hash=plan.hash)
    spent, promised = spending_of(account)
    delta = min(account.delta or terms.delta, terms.delta)
    return Outlook(
        slug=account.institution.slug, name=account.institution.name, subject=account.subject,
        spent=max(account.epsilon, epsilon_of(spent, delta)), promised=epsilon_of(promised, delta),
        after=epsilon_of(plus(promised, allotted.spending), delta), budget=account.budget, delta=delta,
        locked=account.locked is not None,
    )


def spending_of(account: PrivacyAccount) -> tuple[Spending, Spending]:
    """(what reached the portal, what will have when every open run has used its whole allotment)."""
    events: dict[UUID, list[PrivacyEvent]] = {}
    for release in account.releases.all():
        events.setdefault(release.run_id, []).append(PrivacyEvent.model_validate(release.event))
    open_ = Run.objects.filter(pk__in=events, state__in=RUN_OPEN).select_related("plan__project")
    allotted = {run.pk: _allotted(run, account) for run in open_}
    promised = [allotted.get(run, together(spent)) for run, spent in events.items()]
    return plus(*(together(spent) for spent in events.values())), plus(*promised)


def _allotted(run: Run, account: PrivacyAccount) -> Spending:
    plan = run.plan.document
    if account.unit == "institution":
        bank = institution_terms(plan)
        return together([bank.event("0" * 64, "0" * 64)], bank.updates)
    rows = Seat.objects.filter(run=run, institution=account.institution).values_list("rows", flat=True).first()
    return allotment_of(terms_of(plan, rows), run=str(run.pk), project=plan.project, plan_hash=run.plan.hash).spending


def _rows_of(project: Project, account: PrivacyAccount) -> int | None:
    seats = Seat.objects.filter(run__plan__project=project, institution=account.institution, rows__isnull=False)
    rows: int | None = seats.order_by("-run__created_at").values_list("rows", flat=True).first()
    return rows


def too_small(found: Iterable[Outlook]) -> list[str]:
    """Why a run cannot start, a clause for each bank that stands against it."""
    return [
        f"{one.slug}: its privacy ledger is locked" if one.locked
        else f"{one.slug}: {one.after:.3g} in all, and its bound is {one.budget:g}"
        for one in found if not one.fits
    ]  # fmt: skip


# ------------------------------------------------------------------------ for pages
@dataclass(frozen=True)
class Line:
    """One bank's ledger for a table. ``of_run``: what the page's run has cost of it; None on a project's page."""

    account: PrivacyAccount
    epsilon: float
    promised: float
    of_run: float | None

    @property
    def left(self) -> float | None:
        """How much of the bank's bound no run has spent or set aside, roughly: epsilons do not add up exactly."""
        return None if self.account.budget is None else max(self.account.budget - self.promised, 0.0)

    @property
    def percent(self) -> int:
        budget = self.account.budget
        return 0 if not budget else min(round(100 * self.epsilon / budget), 100)


def lines(audience: Audience, project: Project, run: Run | None = None) -> list[Line]:
    """The ledgers that this project spends from, an operator's own alone."""
    accounts = [one for one in accounts_of(project) if audience.sees_figures_of(one.institution_id)]
    of_run = {} if run is None else _spent_in(run)
    if run is not None:
        accounts = [one for one in accounts if one.pk in of_run]
    return [_line(one, of_run.get(one.pk)) for one in accounts]


def _spent_in(run: Run) -> dict[int, float]:
    return dict(run.privacy_releases.order_by().values_list("account_id").annotate(most=Max("run_epsilon")))


def _line(account: PrivacyAccount, of_run: float | None) -> Line:
    spent, promised = spending_of(account)
    delta = account.delta or 1e-6
    return Line(account, max(account.epsilon, epsilon_of(spent, delta)), epsilon_of(promised, delta), of_run)


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
