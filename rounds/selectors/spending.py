"""Privacy for whoever checks it: what each run promised, what was stated and what follows from the recorded events, what remains."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count, Max

from clientagent.wire.combinations import Conflict
from clientagent.wire.messages import PrivacyEvent
from clientagent.wire.messages.privacy import Mechanism, Unit
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import ROUNDING
from clientagent.wire.privacy.events import together
from clientagent.wire.privacy.terms import not_covered
from institutions.models import Institution
from rounds.models import PrivacyRelease, Project, Run
from rounds.selectors.privacy import Line, lines
from rounds.selectors.scope import Audience, visible_projects, visible_runs

SAME = 1 + 1e-6
RUNS_SHOWN = 50
"""Newest runs of a project on the overview."""


@dataclass(frozen=True)
class Promise:
    """What a run's plan promises to one kind of unit, and what the bank that spent most has spent of it."""

    run: Run
    unit: Unit
    allowed: float
    stated: float
    banks: int
    releases: int

    @property
    def left(self) -> float:
        """Of this run's own epsilon, roughly: epsilons do not add up exactly."""
        return max(self.allowed - self.stated, 0.0)

    @property
    def percent(self) -> int:
        return min(round(100 * self.stated / self.allowed), 100)


@dataclass(frozen=True)
class ProjectPrivacy:
    """One project: its runs that promise something, those that promise nothing, and the ledgers that they spend from."""

    project: Project
    promises: list[Promise]
    open_runs: list[Run]
    lines: list[Line]


def overview(audience: Audience, slug: str = "") -> list[ProjectPrivacy]:
    """Projects that this reader sees, or the one that is asked for; an operator's figures are the own bank's."""
    projects = visible_projects(audience).order_by("name")
    return [_project(audience, project) for project in (projects.filter(slug=slug) if slug else projects)]


def _project(audience: Audience, project: Project) -> ProjectPrivacy:
    runs = list(visible_runs(audience).filter(plan__project=project).order_by("-number")[:RUNS_SHOWN])
    spent = _spent(audience, runs)
    promises = [_promise(run, unit, allowed, spent) for run in runs for unit, allowed in promised_by(run)]
    return ProjectPrivacy(project, promises, [run for run in runs if not promised_by(run)], lines(audience, project))


def promised_by(run: Run) -> list[tuple[Unit, float]]:
    """(whose, epsilon over the whole run) for each promise of the run's plan."""
    privacy = run.plan.document.privacy
    found: list[tuple[Unit, float]] = []
    if privacy.record_dp is not None:
        found.append(("record", privacy.record_dp.epsilon))
    if privacy.institution_dp is not None:
        found.append(("institution", privacy.institution_dp.epsilon))
    return found


def _spent(audience: Audience, runs: list[Run]) -> dict[tuple[object, str], tuple[float, int, int]]:
    """(epsilon of the bank that spent most, banks, releases) by run and unit."""
    rows = PrivacyRelease.objects.filter(run__in=runs)
    if not audience.sees_all:
        rows = rows.filter(account__institution_id__in=[audience.institution_id])
    sums = rows.order_by().values_list("run_id", "account__unit").annotate(
        most=Max("run_epsilon"), banks=Count("account", distinct=True), releases=Count("pk")
    )
    return {(run, unit): (most, banks, releases) for run, unit, most, banks, releases in sums}


def _promise(run: Run, unit: Unit, allowed: float, spent: dict[tuple[object, str], tuple[float, int, int]]) -> Promise:
    return Promise(run, unit, allowed, *spent.get((run.pk, unit), (0.0, 0, 0)))


# -------------------------------------------------------------------------- one run
@dataclass(frozen=True)
class Group:
    """Equal events, counted together as the accountant takes them: ``steps`` in ``releases`` releases."""

    mechanism: Mechanism
    releases: int
    steps: int


@dataclass(frozen=True)
class Spent:
    """One bank in one run. ``computed``: anew, from every event that reached the portal."""

    institution: Institution
    unit: Unit
    subject: str
    groups: list[Group]
    stated: float
    computed: float
    allowed: float
    delta: float

    @property
    def holds(self) -> bool:
        return self.computed <= self.stated * SAME and self.stated <= self.allowed * ROUNDING

    @property
    def left(self) -> float:
        return max(self.allowed - self.stated, 0.0)


@dataclass(frozen=True)
class RunSpending:
    run: Run
    promises: list[tuple[Unit, float]]
    spent: list[Spent]
    left_out: list[Conflict]

    @property
    def holds(self) -> bool:
        return all(one.holds for one in self.spent)


def run_spending(audience: Audience, run: Run) -> RunSpending:
    """Every bank whose figures this reader sees; the accountant is asked for each."""
    promised = promised_by(run)
    rows = run.privacy_releases.select_related("account__institution").order_by("account__institution__name", "at", "pk")
    found: dict[tuple[int, str], list[PrivacyRelease]] = {}
    for row in rows:
        if audience.sees_figures_of(row.account.institution_id):
            found.setdefault((row.account.institution_id, row.account.unit), []).append(row)
    allowed = dict(promised)
    spent = [_spent_by(releases, unit, allowed[unit]) for unit, _ in promised for (_, kind), releases in found.items() if kind == unit]
    return RunSpending(run, promised, spent, not_covered(run.plan.document))


def _spent_by(releases: list[PrivacyRelease], unit: Unit, allowed: float) -> Spent:
    events = [PrivacyEvent.model_validate(row.event) for row in releases]
    account, delta = releases[0].account, min(event.delta for event in events)
    steps, times = Counter[Mechanism](), Counter[Mechanism]()
    for event in events:
        steps[event.what] += event.steps
        times[event.what] += 1
    groups = [Group(what, times[what], steps[what]) for what in sorted(times)]
    return Spent(
        account.institution, unit, account.subject, groups, max(row.run_epsilon for row in releases),
        epsilon_of(together(events), delta), allowed, delta,
    )
