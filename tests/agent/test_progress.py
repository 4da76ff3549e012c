"""Progress: newest wins, never in the way of the work."""

from __future__ import annotations

import threading

from clientagent.progress import Reporter
from clientagent.wire.errors import PortalUnreachable
from clientagent.wire.messages import Progress

RUN = "0" * 8 + "-0000-0000-0000-" + "0" * 12


def at(batch: int) -> Progress:
    return Progress(run=RUN, round=1, attempt=1, phase="training", batch=batch, batches=100)


class Portal:
    """Notes what is sent, and holds the sender where a test wants it held."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.came = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.error: PortalUnreachable | None = None

    def send(self, progress: Progress) -> None:
        self.sent.append(progress.batch)
        self.came.release()
        self.go.acquire(timeout=10)
        if self.error:
            raise self.error


def test_only_the_newest_is_sent():
    portal = Portal()
    reporter = Reporter(portal.send, every_s=0.01)
    reporter.tell(at(1))
    assert portal.came.acquire(timeout=10)
    for batch in range(2, 50):
        reporter.tell(at(batch))  # the portal still holds the first
    portal.go.release()
    assert portal.came.acquire(timeout=10)
    portal.go.release()
    reporter.end()
    assert portal.sent == [1, 49]


def test_what_is_over_is_not_told():
    portal = Portal()
    reporter = Reporter(portal.send, every_s=0.05)
    reporter.tell(at(1))
    reporter.clear()
    assert not portal.came.acquire(timeout=0.3)
    reporter.end()
    assert portal.sent == []


def test_a_portal_that_does_not_listen_is_no_trouble():
    portal = Portal()
    portal.error = PortalUnreachable(got="nobody")
    reporter = Reporter(portal.send, every_s=0.01)
    for batch in (1, 2):
        reporter.tell(at(batch))
        assert portal.came.acquire(timeout=10)
        portal.go.release()
    reporter.end()
    assert portal.sent == [1, 2]
