"""Many at once: the database decides who was first, the others walk away, and nothing happens twice.

Threads of one process here, processes in ``tests/crash``. On PostgreSQL by ``DATABASE_URL``.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction

from audit.selectors import entries_of, verify
from clientagent.wire.canonical import canonical
from clientagent.wire.errors import IllegalMove, Refusal
from clientagent.wire.messages import Progress
from rounds import services
from rounds.engine import steps
from rounds.models import Participation, Receipt, Registration, Reign, Round, Run, Update

RACERS = 8


def race(*moves: Callable[[], Any]) -> list[Any]:
    """Every move in a thread of its own, begun together; what each returned, or the refusal that it raised."""
    barrier = threading.Barrier(len(moves))

    def run(move: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return move()
        except Refusal as refusal:
            return refusal
        finally:
            connection.close()

    with ThreadPoolExecutor(len(moves)) as pool:
        return list(pool.map(run, moves))


def wait_until_waiting(other: Future[Any]) -> None:
    """For the row that this transaction holds; SQLite's one lock was taken by its beginning already."""
    with connection.cursor() as cursor:
        while connection.vendor == "postgresql" and not other.done():
            cursor.execute("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")
            if cursor.fetchone()[0]:
                return


def kinds(run: Run) -> list[str]:
    return [entry.kind for entry in entries_of(run.chain)]


@pytest.fixture
def full(transactional_db, running) -> Run:
    """Round 1 has all its updates and is still open."""
    for i, bank in enumerate(running.banks):
        assert bank.train(running.run, seed=i).status_code == 200
    running.run.refresh_from_db()
    return running.run


def only_round(run: Run) -> Round:
    return run.rounds.get()


@pytest.mark.django_db(transaction=True)
class TestThreads:
    def test_one_closes(self, full):
        outcomes = race(*[lambda: services.close_round(round_=only_round(full))] * RACERS)
        assert outcomes.count(True) == 1
        assert kinds(full).count("round_closed") == 1

    def test_one_claims(self, full):
        services.close_round(round_=only_round(full))
        rounds = [only_round(full) for _ in range(RACERS)]
        outcomes = race(*[lambda r=r, i=i: services.claim_round(round_=r, owner=f"w{i}") for i, r in enumerate(rounds)])
        assert outcomes.count(True) == 1
        assert only_round(full).lease_owner == f"w{outcomes.index(True)}"

    def test_one_is_promoted(self, full, admin):
        steps.advance(str(full.pk))
        versions = list(full.versions.all())
        for version in versions:
            services.register_version(version=version, user=admin, reason="a race")

        def promote(version):
            return services.promote_version(version=version, user=admin, reason="first", instead_of=None)

        outcomes = race(*[functools.partial(promote, versions[i % len(versions)]) for i in range(RACERS)])
        assert sum(isinstance(outcome, Reign) for outcome in outcomes) == 1
        assert all(isinstance(outcome, (Reign, IllegalMove)) for outcome in outcomes)
        assert Registration.objects.filter(status="champion").count() == Reign.objects.filter(until_at=None).count() == 1

    def test_one_computes_and_publishes(self, full):
        race(*[lambda: steps.advance(str(full.pk))] * RACERS)
        assert full.versions.filter(number=1).count() == 1
        assert kinds(full).count("version_published") == 2  # the initial weights are the other
        assert list(full.rounds.values_list("number", "state")) == [(1, "published"), (2, "open")]
        verify(full.chain)

    def test_closing_or_abandoning(self, full):
        close = [lambda: services.close_round(round_=only_round(full))] * 4
        abandon = [lambda: services.abandon_round(round_=full.rounds.first(), reason="race")] * 4
        outcomes = race(*close, *abandon)
        assert outcomes.count(True) == 1
        assert (kinds(full) + ["round_abandoned"]).count("round_closed") + kinds(full).count("round_abandoned") == 1

    def test_stopping_against_all(self, full, admin):
        stop = [lambda: services.stop_run(run=full, user=admin, reason="race")] * 3
        outcomes = race(*stop, *[lambda: steps.advance(str(full.pk))] * 3)
        assert sum(isinstance(outcome, IllegalMove) for outcome in outcomes[:3]) == 2
        full.refresh_from_db()
        assert full.state == "stopped"
        assert set(full.rounds.values_list("state", flat=True)) <= {"published", "abandoned"}
        verify(full.chain)

    def test_an_update_sent_many_times_at_once_is_taken_once(self, transactional_db, running):
        bank, run = running.banks[0], running.run
        run.refresh_from_db()
        statement, data = bank.update(run, bank.work(), bank.difference(run, 1))
        answers = race(*[lambda: bank.send(statement, data)] * RACERS)
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["receipt"]["document"]["id"] for answer in answers}) == 1
        assert Update.objects.count() == Receipt.objects.filter(subject="update").count() == 1

    def test_news_of_an_upload_that_waited_for_its_acceptance_does_not_undo_it(self, transactional_db, running):
        """An agent that died behind its last byte comes back and says that it uploads, while its update is being accepted."""
        bank = running.banks[0]
        order = bank.work()
        word = Progress(run=order["run"], round=order["round"], attempt=order["attempt"], phase="uploading")
        with ThreadPoolExecutor(1) as pool:
            with transaction.atomic():
                row = Participation.objects.filter(institution=bank.bank.institution)
                assert row.update(phase="received") == 1
                telling = pool.submit(race, lambda: bank.bank.post("/api/v1/progress", canonical(word)))
                wait_until_waiting(telling)
            assert telling.result()[0].status_code == 204
        assert row.get().phase == "received"

    def test_two_updates_for_one_slot_are_one_update_and_one_conflict(self, transactional_db, running):
        bank, run = running.banks[0], running.run
        run.refresh_from_db()
        order = bank.work()
        sent = [bank.update(run, order, bank.difference(run, seed)) for seed in (1, 2)]
        answers = race(*[lambda s=s: bank.send(*s) for s in sent])
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert Update.objects.count() == 1

    def test_updates_racing_with_the_closing_are_counted_or_late_but_never_lost(self, transactional_db, running):
        banks, run = running.banks, running.run
        run.refresh_from_db()
        Round.objects.update(needed=2)
        sent = [bank.update(run, bank.work(), bank.difference(run, 1)) for bank in banks]
        for bank, one in zip(banks[:2], sent, strict=False):
            assert bank.send(*one).status_code == 200
        answer, *_ = race(lambda: banks[2].send(*sent[2]), *[lambda: steps.advance(str(run.pk))] * 3)
        outcome = answer.json()["receipt"]["document"]["outcome"]
        counted = {entry["institution"] for entry in run.rounds.get(number=1).aggregation["entries"]}
        assert (banks[2].slug in counted) == (outcome == "accepted")
        assert outcome in ("accepted", "late")

    def test_runs_proposed_at_once_have_numbers_of_their_own(self, transactional_db, federation, admin):
        plan = federation.run.plan
        runs = race(*[lambda: services.propose_run(plan=plan, user=admin)] * 4)
        assert sorted(run.number for run in runs) == [2, 3, 4, 5]
