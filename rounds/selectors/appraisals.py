"""What banks said of a run's result: the distribution that it was trained on, groups of customers, and what each bank gained.

Totals over banks are shown once every bank of the roster holds the result, so that they do not grow by one bank at a time, and
only over at least ``min_banks`` of them (invariant 13).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from clientagent.wire.evaluation import Confusion, Tally, bounded_auc, confusion, empty_tally, stability, tally_of
from clientagent.wire.evaluation.probability import wilson
from clientagent.wire.messages import Appraisal as AppraisalDocument
from clientagent.wire.messages import Gain, GroupCounts
from rounds.figures import palette
from rounds.models import Appraisal, ModelVersion, Seat, Update
from rounds.selectors.evaluation import Holder
from rounds.selectors.scope import Audience


@dataclass(frozen=True)
class Group:
    """Customers of one group; the empty name is all that were too few to stand alone."""

    name: str
    tally: Tally
    banks: int


@dataclass(frozen=True)
class BankGain:
    """What one bank's own customers gain, and its share of the way that the model went; None where not known."""

    slug: str
    name: str
    place: int
    own: bool
    gain: Gain | None
    contribution: float | None

    @property
    def verdict(self) -> str:
        """gains, loses, or even: no difference is shown at 95 %; empty where nothing was reported."""
        found = self.gain.federated_gain if self.gain else None
        if found is None:
            return ""
        return "gains" if found.low > 0 else "loses" if found.high < 0 else "even"


@dataclass(frozen=True)
class Appraisals:
    """``waiting`` counts banks that have not fetched the result; totals are empty until there is none."""

    asked: bool
    waiting: int
    segment: str
    training: Tally | None
    groups: dict[str, list[Group]] = field(default_factory=dict)
    gains: list[BankGain] = field(default_factory=list)
    mean_gain: float | None = None
    gaining: tuple[int, int] | None = None

    def groups_of(self, holder: Holder) -> list[Group]:
        return self.groups.get(holder.slug, [])

    def stability_of(self, holder: Holder) -> float | None:
        """PSI of the holder's hold-out customers against the rows that the version was trained on, of all banks."""
        return stability(self.training.at, holder.tally.at) if self.training else None


def appraisals_of(version: ModelVersion, audience: Audience) -> Appraisals:
    run, plan = version.run, version.run.plan.document
    segment = plan.evaluation.segment or ""
    if run.selected_id != version.pk:
        return Appraisals(False, 0, segment, None)
    rows = list(Appraisal.objects.filter(version=version).select_related("institution").order_by("institution__name"))
    found = {row.institution.slug: AppraisalDocument.model_validate(row.document) for row in rows}
    waiting = run.seats.filter(state=Seat.State.SEATED, acknowledged_at=None).count()
    total = found if not waiting else {}
    groups = {row.institution.slug: _own_groups(found[row.institution.slug], version) for row in rows
              if audience.sees_figures_of(row.institution_id)}  # fmt: skip
    groups[""] = _pooled_groups(total, version)
    gains = _gains(version, found, audience)
    known = [document.gain.federated_gain for document in total.values() if document.gain and document.gain.federated_gain]
    enough = len(known) >= plan.privacy.min_banks
    return Appraisals(
        plan.evaluation.gains, waiting, segment, _training(total, version), groups, gains,
        float(np.mean([gain.value for gain in known])) if enough else None,
        (sum(gain.low > 0 for gain in known), len(known)) if enough else None,
    )  # fmt: skip


def _training(total: dict[str, AppraisalDocument], version: ModelVersion) -> Tally | None:
    plan = version.run.plan.document
    shown = [document.training for document in total.values() if document.training and document.training.bins]
    if len(shown) < plan.privacy.min_banks:
        return None
    tallies = (tally_of(split, plan.evaluation.bins, plan.privacy.min_cell) for split in shown)
    return sum(tallies, empty_tally(plan.evaluation.bins))


def _tally(group: GroupCounts, version: ModelVersion) -> Tally:
    plan = version.run.plan.document
    return tally_of(group.holdout, plan.evaluation.bins, plan.privacy.min_cell)


def _own_groups(document: AppraisalDocument, version: ModelVersion) -> list[Group]:
    return [Group(group.group, _tally(group, version), 1) for group in document.groups]


def _pooled_groups(total: dict[str, AppraisalDocument], version: ModelVersion) -> list[Group]:
    """Groups that ``min_banks`` banks have; the others together, with as many of the smallest as it takes to hide them."""
    plan = version.run.plan.document
    tallies: dict[str, Tally] = defaultdict(lambda: empty_tally(plan.evaluation.bins))
    banks: dict[str, set[str]] = defaultdict(set)
    for slug, document in total.items():
        for group in document.groups:
            tallies[group.group] += _tally(group, version)
            banks[group.group].add(slug)
    least = plan.privacy.min_banks
    shown = sorted((name for name in tallies if name and len(banks[name]) >= least), key=lambda name: -tallies[name].rows)
    rest = [name for name in tallies if name not in shown]
    while rest and shown and len(set().union(*(banks[name] for name in rest))) < least:
        rest.append(shown.pop())
    groups = [Group(name, tallies[name], len(banks[name])) for name in sorted(shown)]
    together = set().union(*(banks[name] for name in rest))
    if rest and len(together) >= least:
        groups.append(Group("", sum((tallies[name] for name in rest), empty_tally(plan.evaluation.bins)), len(together)))
    return groups


def _gains(version: ModelVersion, found: dict[str, AppraisalDocument], audience: Audience) -> list[BankGain]:
    places, shares = palette.places(), contributions(version)
    seats = version.run.seats.filter(state=Seat.State.SEATED).select_related("institution").order_by("institution__name")
    return [
        BankGain(
            seat.institution.slug, seat.institution.name, places.get(seat.institution_id, 0), audience.is_own(seat.institution_id),
            found[seat.institution.slug].gain if seat.institution.slug in found else None, shares.get(seat.institution_id),
        )
        for seat in seats
        if audience.sees_figures_of(seat.institution_id)
    ]  # fmt: skip


def contributions(version: ModelVersion) -> dict[int, float]:
    """Each bank's share of the way that the model went up to this version, from norms and cosines that the portal already has.

    In each round a coalition is worth how far its weighted updates alone carry the model in the direction that it took. That
    game is additive, so w |u| cos(u, step) is at once the bank's Shapley value and what leaving it out would cost (after Xu et
    al. 2021, "Gradient Driven Rewards to Guarantee Fairness in Collaborative Machine Learning", section 3). Empty where updates
    are no steps (newton) or were seen only in sum.
    """
    plan = version.run.plan.document
    if plan.strategy.name == "newton" or plan.privacy.secure_aggregation is not None:
        return {}
    rows = Update.objects.filter(
        into__run=version.run, into__number__lte=version.number, into__state="published", weight__isnull=False, cosine__isnull=False
    ).values_list("participation__institution_id", "weight", "norm", "cosine")
    carried: dict[int, float] = defaultdict(float)
    for institution_id, weight, norm, cosine in rows:
        carried[institution_id] += float(weight or 0) * float(norm or 0) * float(cosine or 0)
    whole = sum(carried.values())
    return {pk: value / whole for pk, value in carried.items()} if whole > 0 else {}


@dataclass(frozen=True)
class GroupLine:
    """A group at a cut. ``ratio`` is its share of flagged over that of the group with the highest (Four-fifths rule: below 0.8)."""

    group: Group
    confusion: Confusion
    auc: float | None
    ratio: float | None
    interval: tuple[float, float]


def group_lines(groups: list[Group], cut: int) -> list[GroupLine]:
    found = [(group, confusion(group.tally.at, cut)) for group in groups if group.tally.rows]
    highest = max((line.flagged_share or 0.0 for _group, line in found), default=0.0)
    lines = []
    for group, line in found:
        auc = bounded_auc(group.tally)
        ratio = (line.flagged_share or 0.0) / highest if highest else None
        lines.append(GroupLine(group, line, auc.value if auc else None, ratio, wilson(line.flagged, line.rows)))
    return lines
