"""This bank in the cohort that sums statistics: each stage held against our own terms, answered once, on disk before it is sent."""

from __future__ import annotations

import logging
from contextlib import suppress

from clientagent.approval import require_approved
from clientagent.cohorts import PHASES
from clientagent.faults import Faults
from clientagent.files import read_document, write_atomic
from clientagent.home import Home
from clientagent.portal import Portal
from clientagent.runs import RunFolder
from clientagent.wire.cohort_orders import CohortNotice
from clientagent.wire.errors import (
    CohortMismatch,
    CohortTooSmall,
    ConsistencyBroken,
    Malformed,
    MaskKeyInvalid,
    MaskReused,
    NotAllowed,
    Refusal,
    RingExceeded,
    RoundUnknown,
    ShareInvalid,
    UnmaskRefused,
)
from clientagent.wire.masking import Party, most_rows_offered, statistics_integers, statistics_segments, statistics_terms
from clientagent.wire.messages import StatisticsReport, Unfit, WorkAnswer
from clientagent.wire.plan import Plan
from clientagent.wire.secure_messages import CohortTerms, KeyList, Opened, ShareInbox, SurvivorList, UnmaskRequest
from clientagent.wire.signing import Signed, sign_document

OURS = (CohortMismatch, CohortTooSmall, ConsistencyBroken, MaskKeyInvalid, MaskReused, RingExceeded, ShareInvalid, UnmaskRefused)
"""What this bank will not do for a cohort: the portal hears why, and does not wait."""

log = logging.getLogger("fedagent.statistics")


def sum_statistics(home: Home, portal: Portal, faults: Faults, notice: CohortNotice) -> WorkAnswer | None:
    """Answer one notice. Raises ``Dropped`` where a rehearsal asked for it, and what is wrong with the notice."""
    plan, folder = require_approved(home, notice.manifest_digest), home.run(notice.run)
    if notice.institution != portal.identity.institution:
        raise NotAllowed(expected=f"a notice for {portal.identity.institution}", got=f"one for {notice.institution}")
    with faults.phase(0, PHASES[notice.stage]):
        try:
            party, said, words = _answered(home, plan, folder, notice)
        except OURS as error:
            word = Unfit(run=notice.run, plan_hash=plan.hash, institution=notice.institution, reason=error.sentence[:2000])
            with suppress(Refusal):
                portal.statistics(notice.run, sign_document(word, home.key))
            raise
        write_atomic(folder.statistics_party(notice.cohort), party.to_json())
        if notice.stage == "unmask":
            home.note_opened(party.opened)
            folder.use_consent(0)
        log.info("statistics: cohort of %d banks, stage %s", party.cohort.size, notice.stage)
        if words is not None:
            return portal.masked_statistics(notice.run, notice.rid, said, words).next
        return portal.speak(notice.run, notice.rid, said)


def _answered(home: Home, plan: Plan, folder: RunFolder, notice: CohortNotice) -> tuple[Party, Signed, bytes | None]:
    """Our side after this notice, what it says, and the masked words where it sends them."""
    content, key, words = notice.content, home.key, None
    path = folder.statistics_party(notice.cohort)
    party = Party.from_json(path.read_bytes()) if path.exists() else None
    if isinstance(content, CohortTerms):
        own = _own_terms(plan, folder, notice, content)
        party = party or Party.join(content, own=own, institution=notice.institution, identity=key)
    if party is None or party.cohort.rid != notice.rid:
        raise CohortMismatch(expected="a cohort that we joined", got=f"{notice.rid[:16]}, in stage {notice.stage}")
    said: Signed | None
    match content:
        case CohortTerms():
            said = party.advertisement
        case KeyList():
            party = party.share(content, identity=key)
            said = party.shares
        case ShareInbox():
            party = party.receive(content)
            vector = party.cohort.ring.encode({**statistics_integers(plan, _plain(folder))})
            party, masked = party.mask(vector, identity=key)
            said, words = party.masked, masked.tobytes()
        case SurvivorList():
            party = party.confirm(content, identity=key)
            said = party.consistency
        case UnmaskRequest():
            party = _open(home, plan, folder, party, content)
            said = party.answer
    if said is None:
        raise Malformed(expected="a stage in which we have something to say", got=notice.stage)
    return party, said, words


def _plain(folder: RunFolder) -> StatisticsReport:
    report = read_document(folder.plain_statistics, StatisticsReport)
    if report is None:
        raise RoundUnknown(expected="statistics that wait to be masked", got="none on this machine")
    return report


def _own_terms(plan: Plan, folder: RunFolder, notice: CohortNotice, offered: CohortTerms) -> CohortTerms:
    """The terms as this bank computes them; of the portal's it takes who declared rows, with which keys, and the room for rows.

    The keys are held against the run's manifest later: the same banks must be on its roster with the same ones.
    """
    rows = _plain(folder).rows
    segments = statistics_segments(plan, most_rows=most_rows_offered(offered.segments, rows))
    return statistics_terms(plan=plan, run=notice.run, cohort=notice.cohort, members=offered.members, segments=segments)


def _open(home: Home, plan: Plan, folder: RunFolder, party: Party, request: UnmaskRequest) -> Party:
    """The answer that opens the sum: once for a plan, unless over the same banks again or with the operator's consent."""
    if party.answer is not None:
        return party
    opened = party.opened
    previous = [before for before in home.opened() if _tells_more(before, opened)]
    return party.unmask(request, identity=home.key, previous=previous, may_reopen=folder.may_reopen(0))


def _tells_more(before: Opened, now: Opened) -> bool:
    """Another run of the plan over the same banks is no news but for what changed in the data of all."""
    return before.purpose == now.purpose and (before.run == now.run or before.survivors != now.survivors)
