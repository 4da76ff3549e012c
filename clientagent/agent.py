"""The loop: ask for work, do it, ask again. Decides how long to wait and which troubles end the agent.

Whatever goes wrong with one order, the next one is asked for; only what no waiting can mend (a revoked key, a portal that
speaks another protocol) ends the loop. Death at any instant is harmless: everything that matters is on disk before it counts.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from clientagent.approval import ApprovalDesk, can_train, require_approved, utc_now
from clientagent.faults import Dropped, Faults
from clientagent.home import Activity, Home
from clientagent.portal import WAIT_S, Portal
from clientagent.preparation.books import Books
from clientagent.preparation.counting import answer_statistics
from clientagent.preparation.summing import sum_statistics
from clientagent.privacy.desk import PrivacyDesk
from clientagent.progress import Reporter, Watch
from clientagent.training.warmup import Warmup
from clientagent.transport import Busy
from clientagent.wire.canonical import digest_of
from clientagent.wire.cohort_orders import CohortNotice
from clientagent.wire.errors import (
    AgentRevoked,
    KeyUnknown,
    LedgerBroken,
    Malformed,
    PortalUnreachable,
    ProtocolUnsupported,
    Refusal,
)
from clientagent.wire.messages import Head, PlanNotice, StatisticsOrder, WorkAnswer, WorkOrder
from clientagent.wire.signing import Signed
from clientagent.wire.strategies import needs_torch
from clientagent.work import Worker

FINAL = (AgentRevoked, KeyUnknown, ProtocolUnsupported)
"""Waiting does not mend these."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 15.0
LONGEST_AGAIN_S = 2.0
"""Between two looks at an order that was not done; longer, and the next round would wait for us."""
ACTIVITY_EVERY_S = 5.0

log = logging.getLogger("fedagent")


class Agent:
    """One bank's agent, for as long as the process lives."""

    def __init__(self, home: Home, portal: Portal, faults: Faults, *, watch: Watch | None = None) -> None:
        """``watch`` is shown each step of the work, for bars on a terminal."""
        self._home, self._portal = home, portal
        self._reporter = Reporter(portal.progress, watch=watch)
        self._books = Books(home)
        self._desk = ApprovalDesk(home, portal)
        self._warmup = Warmup()
        self._privacy = PrivacyDesk(home, portal)
        self._worker = Worker(home, portal, self._books, faults, self._reporter, self._warmup, self._privacy)
        self._faults = faults
        self._again: dict[str, int] = {}
        self._noted = -ACTIVITY_EVERY_S

    def run(self, *, once: bool = False, until_idle_s: float | None = None) -> None:
        """Work until ended: by a signal, after one piece of work (``once``), or after a time without any."""
        try:
            self._loop(once=once, until_idle_s=until_idle_s)
        finally:
            self._reporter.end()

    def _loop(self, *, once: bool, until_idle_s: float | None) -> None:
        idle_since, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                found = self._ask(once, until_idle_s, idle_since)
                pause = FIRST_PAUSE_S
                if found is not None:
                    self._follow(*found)
            except FINAL:
                raise
            except (Refusal, OSError) as error:  # an answer could not be had, or not be kept on a full disk
                self._tell_of(error)
                if once:
                    raise
                time.sleep(max(pause, error.retry_after_s if isinstance(error, Busy) else 0.0))
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if found is not None:
                idle_since = time.monotonic()
            elif until_idle_s is not None and time.monotonic() - idle_since >= until_idle_s:
                return
            if once:
                return

    def _ask(self, once: bool, until_idle_s: float | None, idle_since: float) -> tuple[WorkAnswer, Head | None] | None:
        self._desk.reconsider()
        wait = WAIT_S if until_idle_s is None else max(0.0, until_idle_s - (time.monotonic() - idle_since))
        found = self._portal.work(wait_s=min(WAIT_S, round(wait, 1)))
        self._home.note_state("approved")
        self._note()
        return found

    def _follow(self, answer: WorkAnswer, sent: Head | None) -> None:
        """Do a piece of work and whatever the portal hands over with its receipt."""
        following: WorkAnswer | None = answer
        while following is not None:
            following = self._handle(following, sent)

    def _handle(self, answer: WorkAnswer, sent: Head | None) -> WorkAnswer | None:
        """Do one piece of work. A refusal is logged, and makes the agent slower to look at the same order again."""
        order = answer.order
        try:
            self._portal.check_head(answer.head, sent)
            following = self._dispatch(answer)
            self._again.pop(digest_of(order.document), None)
            return following
        except FINAL:
            raise
        except Dropped:
            log.info("this rehearsal's bank leaves the round")
            time.sleep(FIRST_PAUSE_S)  # it looks again soon: the next round may open at any time
            return None
        except LedgerBroken as error:
            self._stop_run(order, error)
        except PortalUnreachable as error:
            log.warning("%s; the work waits on disk", error.sentence)
        except Refusal as error:
            log.error("%s. %s", error.sentence, error.action)
            self._note(problem=error.sentence)
        except OSError as error:
            log.error("%s: %s", type(error).__name__, error)
            self._note(problem=str(error))
        self._wait_after(digest_of(order.document))
        return None

    def _dispatch(self, answer: WorkAnswer) -> WorkAnswer | None:
        signed, kind = answer.order, answer.order.document.get("type")
        if kind == "plan_notice":
            self._desk.answer(self._portal.open(signed, PlanNotice))
            return None
        if kind == "statistics_order":
            order = self._portal.open(signed, StatisticsOrder)
            self._portal.attend(order.run)
            if needs_torch(require_approved(self._home, order.plan_hash)) and can_train():
                self._warmup.start()
            return answer_statistics(self._home, self._portal, self._books, self._privacy, order).next
        if kind == "work_order":
            work = self._portal.open(signed, WorkOrder)
            self._portal.attend(work.run)
            return self._worker.do(signed, work).next
        if kind == "cohort_notice":
            notice = self._portal.open(signed, CohortNotice)
            self._portal.attend(notice.run)
            return sum_statistics(self._home, self._portal, self._faults, notice) if notice.round == 0 else self._worker.mask(notice)
        raise Malformed(expected="a plan notice, a statistics order, a work order or a cohort notice", got=str(kind)[:60])

    def _stop_run(self, order: Signed, error: LedgerBroken) -> None:
        """The portal's history does not extend what we saw: nothing more for this run until a person has looked."""
        run = str(order.document.get("run"))
        log.critical("%s. The agent stops run %s. %s", error.sentence, run, error.action)
        self._note(problem=error.sentence)
        folder = self._home.run(run)
        if folder.stopped is None:
            folder.stop(error.problem())
        if order.document.get("type") == "work_order":
            with suppress(Refusal):
                self._worker.refuse(self._portal.open(order, WorkOrder), error)

    def _wait_after(self, order_digest: str) -> None:
        times = self._again[order_digest] = self._again.get(order_digest, 0) + 1
        time.sleep(min(FIRST_PAUSE_S * 2 ** min(times - 1, 10), LONGEST_AGAIN_S))

    def _tell_of(self, error: Refusal | OSError) -> None:
        said, action = (error.sentence, error.action) if isinstance(error, Refusal) else (f"{type(error).__name__}: {error}", "")
        self._note(problem=said)
        log.warning("%s. %s", said, action)

    def _note(self, problem: str = "") -> None:
        """What ``fedagent status`` shows; written now and then, not for each round. A full disk is no reason to end for that."""
        now = time.monotonic()
        if problem or now - self._noted >= ACTIVITY_EVERY_S:
            self._noted = now
            with suppress(OSError):
                self._home.save_activity(Activity(at_utc=utc_now(), problem=problem))
