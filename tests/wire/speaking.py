"""A bank's words in the cohort that sums statistics."""

from __future__ import annotations

from clientagent.wire.cohort_orders import CohortNotice
from clientagent.wire.masking import Party, statistics_integers
from clientagent.wire.messages import StatisticsReport
from clientagent.wire.plan import Plan
from clientagent.wire.signing import PrivateKey, Signed


def statistics_word(
    parties: dict[str, Party], plan: Plan, key: PrivateKey, notice: CohortNotice, report: StatisticsReport
) -> tuple[Signed, bytes | None]:
    """What a bank with these ``parties`` says to a notice, and the masked words where it sends them."""
    party, content, words = parties.get(notice.rid), notice.content, None
    match notice.stage:
        case "keys":
            party = Party.join(content, own=content, institution=notice.institution, identity=key)
        case "shares":
            party = party.share(content, identity=key)
        case "masked":
            party = party.receive(content)
            party, masked = party.mask(party.cohort.ring.encode(statistics_integers(plan, report)), identity=key)
            words = masked.tobytes()
        case "consistency":
            party = party.confirm(content, identity=key)
        case _:
            party = party.unmask(content, identity=key, previous=[])
    parties[notice.rid] = party
    return party.said[-1], words
