"""What a published version has cost each bank that is in it, under the privacy of banks: one ledger a bank and project."""

from __future__ import annotations

from clientagent.wire.ledger import GENESIS
from clientagent.wire.messages import AggregationManifest, PrivacyEvent
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import release_of
from clientagent.wire.privacy.events import together
from clientagent.wire.privacy.institution import AdaptiveClip, institution_terms
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
    run, spent = round_.run, {}
    terms, clip = institution_terms(run.plan.document), round_.base.clip
    for update in in_manifest_order(round_):
        bank = update.participation.institution
        account, _ = PrivacyAccount.objects.get_or_create(
            institution=bank, unit="institution", subject=run.plan.project.slug, defaults={"hash": GENESIS, "delta": terms.delta}
        )
        release = release_of(run=str(run.pk), institution=bank.slug, base_digest=round_.base.digest)
        known = [PrivacyEvent.model_validate(row.event) for row in account.releases.filter(run=run)]
        event = terms.event(release, round_.base.digest, clip)
        spent[bank.slug] = epsilon_of(together([*known, event]), terms.delta)
        PrivacyRelease.objects.create(
            account=account, run=run, round=round_.number, release=release, event=event.model_dump(mode="json"),
            run_epsilon=spent[bank.slug], at=now(),
        )
        rows = [PrivacyEvent.model_validate(row.event) for row in account.releases.all()]
        account.seq, account.delta = len(rows), min(terms.delta, account.delta or 1.0)
        account.epsilon = epsilon_of(together(rows), account.delta)
        account.save()
    return spent
