"""Where an accepted update counts, and with what weight: in its own round, or (async, late: next_round) in a later one."""

from __future__ import annotations

import math

from django.db.models import QuerySet

from clientagent.wire.canonical import digest_of, sha256_hex
from clientagent.wire.messages import AggregationEntry, AggregationManifest, AggregationNoise
from clientagent.wire.privacy.institution import COUNT, count_sigma, institution_terms, noisy_share_within
from clientagent.wire.privacy.stream import Stream
from clientagent.wire.secure_messages import CohortTerms
from clientagent.wire.signing import parse
from rounds.algorithms.weighting import capped_shares, staleness_factor
from rounds.lifecycle import WORKING, Phase, RoundState
from rounds.models import Participation, Round, Run, Update


def destination(participation: Participation, run: Run) -> tuple[bool, Round | None]:
    """(counts, round): whether an update counts at all, and the open round that it counts in; None: the next that opens.

    The caller holds the lock on the run's live round, so closing cannot come between.
    """
    schedule = run.plan.document.schedule
    own = participation.round
    if schedule.mode == "sync" and own.state == RoundState.OPEN:
        return participation.phase in WORKING, own
    live = run.rounds.filter(state__in=(RoundState.OPEN, RoundState.CLOSING, RoundState.AGGREGATING)).first()
    open_ = live if live is not None and live.state == RoundState.OPEN else None
    if run.closing_at is not None or (live is None and run.last_version.number >= run.total_versions):
        return False, None
    upcoming = open_.number if open_ else run.last_version.number + (2 if live else 1)
    if schedule.mode == "async":
        is_fresh = upcoming - own.number <= schedule.max_staleness
        return is_fresh and upcoming <= run.total_versions and participation.phase in WORKING, open_
    is_late = own.state == RoundState.PUBLISHED
    return schedule.late == "next_round" and is_late and upcoming <= run.total_versions, open_


def take_in(round_: Round) -> int:
    """Count the updates that waited for a round to open in this one; returns how many."""
    waiting = Update.objects.filter(into=None, weight=None, participation__round__run=round_.run, participation__phase=Phase.RECEIVED)
    count = 0
    for update in waiting.select_related("participation__round"):
        update.into, update.staleness = round_, max(0, round_.number - update.participation.round.number)
        update.save(update_fields=["into", "staleness"])
        count += 1
    return count


def aggregation_manifest(round_: Round) -> AggregationManifest:
    """The ordered list that a closing round commits: by institution, then from the oldest update to the newest.

    In sync mode a late update counts only for a bank that sent no fresh one. Stale updates are discounted and the rest of their
    weight is not given to others, so that a buffer of old news moves the model less.
    """
    plan, roster = round_.run.plan.document, round_.run.roster
    updates, terms = _counted(round_), _terms(round_)
    return AggregationManifest(
        run=str(round_.run_id), round=round_.number, attempt=round_.attempt, base_number=round_.base.number,
        base_digest=round_.base.digest, base_state_digest=round_.base.state_id, participants=len(roster),
        strategy=plan.strategy.model_dump(mode="json"),
        entries=[
            AggregationEntry(
                institution=update.participation.institution.slug, update_digest=update.digest, rows=update.rows,
                weight=weight, staleness=update.staleness,
                share=roster[update.participation.institution.slug].weight, steps=update.steps, base_loss=update.base_loss,
            )
            for update, weight in zip(updates, _weights(round_, updates), strict=True)
        ],
        cohort=digest_of(terms) if terms else None, noise=_noise(round_, updates),
    )


def _noise(round_: Round, updates: list[Update]) -> AggregationNoise | None:
    """What the privacy of banks adds to this round; its key is drawn by whoever closes the round, and kept with it.

    Where the clip adapts, the banks within it are counted here, with noise from that key: nobody is told the count without it.
    """
    plan = round_.run.plan.document
    if plan.privacy.institution_dp is None or plan.privacy.secure_aggregation is not None:
        return None  # under masks the banks' own shares are in the sum, as the cohort's terms say
    terms, key = institution_terms(plan), bytes.fromhex(round_.noise_key)
    if not terms.adaptive or round_.base.clip is None:
        return AggregationNoise(noise_multiplier=terms.noise_multiplier, clip=terms.clip, key_digest=sha256_hex(key))
    within = [bool(update.manifest["document"]["within_clip"]) for update in updates]
    share = noisy_share_within(sum(within), len(within), Stream(key).child(COUNT), deviation=count_sigma(terms.banks))
    return AggregationNoise(
        noise_multiplier=terms.update_noise, clip=round_.base.clip, key_digest=sha256_hex(key),
        count_deviation=count_sigma(terms.banks), within_share=share,
    )


def _weights(round_: Round, updates: list[Update]) -> list[float]:
    """How much each update counts. Under secure aggregation as the cohort's terms say, each survivor's share of all of theirs."""
    plan = round_.run.plan.document
    if terms := _terms(round_):
        weights = {member.institution: member.weight for member in terms.members}
        own = [weights[update.participation.institution.slug] for update in updates]
        return [weight / math.fsum(own) for weight in own]
    sizes = [float(update.rows) if plan.strategy.weighting == "samples" else 1.0 for update in updates]
    shares = capped_shares(sizes, plan.strategy.max_weight)
    power = plan.schedule.staleness_power
    return [float(share) * staleness_factor(update.staleness, power) for update, share in zip(updates, shares, strict=True)]


def _terms(round_: Round) -> CohortTerms | None:
    if round_.run.plan.document.privacy.secure_aggregation is None:
        return None
    cohort = round_.cohorts.order_by("-number").first()
    return parse(CohortTerms, cohort.terms) if cohort else None


def counted_in(round_: Round) -> QuerySet[Update]:
    """The updates that count in a round: those of a bank that was dropped after they came do not."""
    return Update.objects.filter(into=round_, participation__phase__in=(Phase.RECEIVED, Phase.ACCEPTED))


def _counted(round_: Round) -> list[Update]:
    rows = (
        counted_in(round_).select_related("participation__institution")
        .order_by("participation__institution__slug", "-staleness", "participation__slot")
    )
    updates = list(rows)
    if round_.run.is_async:
        return updates
    fresh = {update.participation.institution_id for update in updates if update.staleness == 0}
    return [update for update in updates if update.staleness == 0 or update.participation.institution_id not in fresh]


def in_manifest_order(round_: Round) -> list[Update]:
    """The updates of a closed round in the order of its manifest."""
    return [update for update in _counted(round_) if update.weight is not None]


def note_weights(round_: Round, manifest: AggregationManifest) -> None:
    updates = _counted(round_)
    for update, entry in zip(updates, manifest.entries, strict=True):
        update.weight = entry.weight
    Update.objects.bulk_update(updates, ["weight"])

