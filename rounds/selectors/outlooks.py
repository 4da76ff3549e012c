"""What another run would cost: each bank's customers and each bank as a whole, before and after it, against what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from uuid import UUID

from django.db.models import Q

from clientagent.wire.ledger import GENESIS
from clientagent.wire.messages import PrivacyEvent
from clientagent.wire.messages.privacy import Unit
from clientagent.wire.phrases import phrase
from clientagent.wire.plan import Plan as PlanSchema
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import ROUNDING, allotment_of, summed_delta
from clientagent.wire.privacy.events import Spending, plus, together
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.privacy.terms import RecordTerms, record_terms
from institutions.models import Institution
from rounds.lifecycle import RUN_OPEN
from rounds.models import PrivacyAccount, Project, Run, Seat

UNKNOWN_ROWS = 10_000
"""Rows of a bank that has declared none yet; terms depend on them only through delta, from 100,000 rows on."""
NOTHING = Spending(frozenset(), 0.0)
OUT = (Seat.State.REFUSED, Seat.State.UNFIT, Seat.State.ABSENT, Seat.State.DROPPED)
"""Seats whose bank sends nothing more: only what it has sent counts."""


@dataclass(frozen=True)
class Outlook:
    """A bank's customers, or the bank as a whole, before and after a run.

    ``budget``: the bank's own bound, None where it set none; ``allowed``: the consortium's for each bank in the project.
    """

    slug: str
    name: str
    unit: Unit
    subject: str
    spent: float
    promised: float
    after: float
    budget: float | None
    allowed: float | None
    delta: float
    locked: bool

    @property
    def limit(self) -> float | None:
        """The smaller of the two that there are."""
        return min((bound for bound in (self.budget, self.allowed) if bound is not None), default=None)

    @property
    def fits(self) -> bool:
        return not self.locked and (self.limit is None or self.after <= self.limit * ROUNDING)

    @property
    def left(self) -> float | None:
        """What would remain, roughly: epsilons do not add up exactly."""
        return None if self.limit is None else max(self.limit - self.after, 0.0)

    @property
    def is_bank(self) -> bool:
        return self.unit == "institution"


def terms_of(plan: PlanSchema, rows: int | None) -> RecordTerms:
    return record_terms(plan, rows or UNKNOWN_ROWS)


def outlooks(project: Project, plan: PlanSchema) -> list[Outlook]:
    """What the plan's customers, and its banks as a whole, would have lost at the end, bank by bank.

    Of customers as far as the portal has seen their ledgers: a bank whose ledger it has not seen in this project is left out, and its
    own agent decides. Of a bank as a whole the portal keeps count itself.
    """
    customers = [] if plan.privacy.record_dp is None else [
        _of_customers(project, account, plan) for account in accounts_of(project)
        if account.unit == "record" and account.institution.slug in plan.participants
    ]  # fmt: skip
    return customers + _of_banks(project, plan)


def accounts_of(project: Project) -> list[PrivacyAccount]:
    """The ledgers that runs of this project have spent from, and those that it would spend from."""
    rows = PrivacyAccount.objects.filter(
        Q(releases__run__plan__project=project) | Q(unit="institution", subject=project.slug)
    )
    return list(rows.select_related("institution").distinct())


def _of_customers(project: Project, account: PrivacyAccount, plan: PlanSchema) -> Outlook:
    terms = terms_of(plan, _rows_of(project, account))
    allotted = allotment_of(terms, run=str(account.pk).rjust(36, "0"), project=plan.project, plan_hash=plan.hash)
    return _outlook(account, allotted.spending, terms.delta, None)


def _of_banks(project: Project, plan: PlanSchema) -> list[Outlook]:
    if plan.privacy.institution_dp is None:
        return []
    terms = institution_terms(plan)
    known = {account.institution_id: account for account in accounts_of(project) if account.unit == "institution"}
    banks = Institution.objects.filter(slug__in=plan.participants).order_by("slug")
    return [
        _outlook(known.get(bank.pk) or account_for(project, bank), terms.spending, terms.delta, project.institution_epsilon)
        for bank in banks
    ]


def account_for(project: Project, bank: Institution) -> PrivacyAccount:
    """A bank's account in a project before anything was spent from it; not saved."""
    return PrivacyAccount(institution=bank, unit="institution", subject=project.slug, hash=GENESIS)


def promised_to(project: Project, bank: Institution) -> float:
    """Epsilon that the project's runs have cost a bank as a whole, with all that open ones hold."""
    account = PrivacyAccount.objects.filter(institution=bank, unit="institution", subject=project.slug).first()
    account = account or account_for(project, bank)
    promised = spending_of(account)[1]
    return epsilon_of(promised, summed_delta([account.delta] if account.delta else [], "institution"))


def _outlook(account: PrivacyAccount, run: Spending, delta: float, allowed: float | None) -> Outlook:
    spent, promised = spending_of(account)
    delta = summed_delta([account.delta or delta, delta], account.whose)
    return Outlook(
        slug=account.institution.slug, name=account.institution.name, unit=account.whose, subject=account.subject,
        spent=max(account.epsilon, epsilon_of(spent, delta)), promised=epsilon_of(promised, delta),
        after=epsilon_of(plus(promised, run), delta), budget=account.budget, allowed=allowed, delta=delta,
        locked=account.locked is not None,
    )  # fmt: skip


def spending_of(account: PrivacyAccount) -> tuple[Spending, Spending]:
    """(what reached the portal, what will have when every open run has used its whole allotment, begun or not)."""
    events: dict[UUID, list[PrivacyEvent]] = {}
    for release in account.releases.all() if account.pk else ():
        events.setdefault(release.run_id, []).append(PrivacyEvent.model_validate(release.event))
    spent = {run: together(found) for run, found in events.items()}
    promised = {**spent, **{run.pk: _allotted(run, account) for run in _open_runs(account)}}
    return plus(*spent.values()), plus(*promised.values())


def _open_runs(account: PrivacyAccount) -> list[Run]:
    """Runs that have set something of this ledger aside: those under way in projects that spend from it, which promise this unit."""
    projects = Q(plan__project__slug=account.subject)
    if account.unit == "record":
        projects = Q(plan__project__in=account.releases.values("run__plan__project"))
    seats = Seat.objects.filter(institution=account.institution).exclude(state__in=OUT)
    runs = Run.objects.filter(projects, state__in=RUN_OPEN, seats__in=seats).select_related("plan__project").distinct()
    return [run for run in runs if _promises(run.plan.document, account)]


def _promises(plan: PlanSchema, account: PrivacyAccount) -> bool:
    part = plan.privacy.institution_dp if account.unit == "institution" else plan.privacy.record_dp
    return part is not None


def _allotted(run: Run, account: PrivacyAccount) -> Spending:
    plan = run.plan.document
    if account.unit == "institution":
        return institution_terms(plan).spending
    rows = Seat.objects.filter(run=run, institution=account.institution).values_list("rows", flat=True).first()
    return allotment_of(terms_of(plan, rows), run=str(run.pk), project=plan.project, plan_hash=run.plan.hash).spending


def _rows_of(project: Project, account: PrivacyAccount) -> int | None:
    seats = Seat.objects.filter(run__plan__project=project, institution=account.institution, rows__isnull=False)
    rows: int | None = seats.order_by("-run__created_at").values_list("rows", flat=True).first()
    return rows


def unseen(plan: PlanSchema, found: Iterable[Outlook]) -> list[str]:
    """Short names of the banks whose customers' ledgers the portal has not seen in this project, where the plan spends from them."""
    if plan.privacy.record_dp is None:
        return []
    return sorted(set(plan.participants) - {one.slug for one in found if not one.is_bank})


@dataclass(frozen=True)
class Alike:
    """Banks for whom a run means the same; ``one`` stands for all of them."""

    names: list[str]
    one: Outlook


def alike(found: Iterable[Outlook]) -> list[Alike]:
    """Outlooks that read the same, together; those that stand against the run first."""
    groups: dict[Outlook, list[str]] = {}
    for one in found:
        groups.setdefault(replace(one, slug="", name="", subject="" if one.is_bank else one.subject), []).append(one.name)
    return sorted((Alike(names, one) for one, names in groups.items()), key=lambda group: (group.one.fits, group.names))


def too_small(found: Iterable[Outlook]) -> list[str]:
    """Why a run cannot start, a clause for each bank that stands against it."""
    return [_obstacle(one) for one in found if not one.fits]


def _obstacle(one: Outlook) -> str:
    whose = phrase(f"{one.slug} as a whole" if one.is_bank else f"{one.slug}, customers of {one.subject}")
    if one.locked:
        return phrase(f"{whose}: its privacy ledger is locked")
    if one.limit == one.allowed:
        return phrase(f"{whose}: epsilon {one.after:.3g} in all, and the project's budget is {one.limit:g}")
    return phrase(f"{whose}: epsilon {one.after:.3g} in all, and the bank's own bound is {one.limit:g}")
