"""What a release has cost each bank that is in it, under the privacy of banks: one ledger a bank and project.

Where the portal adds the noise, a round costs when its version is published. Where banks add it in shares, the portal is among
those whom it protects from, so a vector costs as soon as it is in a cohort, whatever becomes of that.
"""

from __future__ import annotations

from django.db.models import Max

from clientagent.wire.ledger import GENESIS
from clientagent.wire.messages import AggregationManifest, PrivacyEvent
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import release_of
from clientagent.wire.privacy.events import together
from clientagent.wire.privacy.institution import AdaptiveClip, institution_terms
from institutions.models import Institution
from rounds.clock import now
from rounds.models import ModelVersion, PrivacyAccount, PrivacyRelease, Round
from rounds.services.buffer import in_manifest_order


def next_clip(round_: Round) -> float | None:
    """The clip of the version that a closed round makes; it follows from the manifest alone. None where the plan's does not adapt."""
    said = AggregationManifest.model_validate(round_.aggregation).noise
    if said is None or said.within_share is None:
        return None
    return AdaptiveClip(said.clip).after(said.within_share).clip


def clip_said(version: ModelVersion) -> dict[str, float]:
    """What the ledger says of a version's clip, where it adapts."""
    return {} if version.clip is None else {"clip": version.clip}


def book_round(round_: Round) -> dict[str, float]:
    """Book the round for each bank in its sum, in the caller's transaction; epsilon of the run so far, by bank."""
    banks = [update.participation.institution for update in in_manifest_order(round_)]
    return {bank.slug: _book(round_, bank) for bank in banks}


def book_masked(round_: Round, bank: Institution, rid: str) -> None:
    """A bank's vector is in a cohort (its rid): a release of its own, with noise of its own. In the caller's transaction."""
    if round_.run.plan.document.privacy.institution_dp is not None:
        _book(round_, bank, rid)


def spent_in(round_: Round) -> dict[str, float]:
    """Epsilon of the run so far, by bank in the round's sum, where vectors were booked as they came."""
    banks = [update.participation.institution_id for update in in_manifest_order(round_)]
    rows = PrivacyRelease.objects.filter(run=round_.run, account__unit="institution", account__institution_id__in=banks)
    return dict(rows.order_by().values_list("account__institution__slug").annotate(most=Max("run_epsilon")))


def _book(round_: Round, bank: Institution, rid: str | None = None) -> float:
    run, terms = round_.run, institution_terms(round_.run.plan.document)
    account, _ = PrivacyAccount.objects.get_or_create(
        institution=bank, unit="institution", subject=run.plan.project.slug, defaults={"hash": GENESIS, "delta": terms.delta}
    )
    release = release_of(run=str(run.pk), institution=bank.slug, base_digest=round_.base.digest, cohort=rid)
    known = [PrivacyEvent.model_validate(row.event) for row in account.releases.filter(run=run)]
    event = terms.event(release, round_.base.digest, round_.base.clip)
    spent = epsilon_of(together([*known, event]), terms.delta)
    PrivacyRelease.objects.create(
        account=account, run=run, round=round_.number, release=release, event=event.model_dump(mode="json"),
        run_epsilon=spent, at=now(),
    )
    rows = [PrivacyEvent.model_validate(row.event) for row in account.releases.all()]
    account.seq, account.delta = len(rows), min(terms.delta, account.delta or 1.0)
    account.epsilon = epsilon_of(together(rows), account.delta)
    account.save()
    return spent
