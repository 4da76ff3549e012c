"""The privacy ledger: reserved before training, committed before sending, and never spent past the bank's bound."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clientagent.privacy.ledger import PrivacyLedger
from clientagent.privacy.releases import Releases
from clientagent.wire.errors import BudgetExceeded, IllegalMove, LedgerBroken, PrivacyLedgerLocked, PrivacyUnsound
from clientagent.wire.ledger import GENESIS
from clientagent.wire.messages.privacy import PrivacyCountersignature, PrivacyHead, SpentRelease
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.book import Allotted
from clientagent.wire.privacy.heads import require_extends
from clientagent.wire.signing import PrivateKey, Signed, parse, sign_document
from tests.agent.private import BASES, OTHER_RUN, RUN, a_ledger, an_event, private_plan

KEY, PORTAL = PrivateKey.generate(), PrivateKey.generate()


def allotment(run: str = RUN, updates: int = 3, **changes) -> Allotted:
    event = an_event(**changes)
    return Allotted(
        run=run, project="retail-credit", plan_hash="b" * 64, epsilon=50.0, delta=event.delta, updates=updates,
        statistics=None, update=event,
    )


def release(number: int, **changes):
    return an_event(release=f"{number:064x}", base_digest=BASES[number], **changes)


def countersigned(ledger: PrivacyLedger, **changes) -> Signed:
    head = parse(PrivacyHead, ledger.head_update(KEY).head.document)
    fields = {**head.model_dump(exclude={"type"}), **changes}
    return sign_document(PrivacyCountersignature(**fields), PORTAL)


# ------------------------------------------------------------------------ moves
def test_a_release_goes_from_reserved_to_committed_and_counts_from_the_first(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    assert ledger.book.epsilon() == 0
    ledger.reserve(RUN, release(1), budget=None)
    reserved = ledger.book.epsilon()
    assert reserved > 0
    ledger.commit(RUN, release(1).release)
    assert ledger.book.epsilon() == reserved
    assert ledger.has_left(RUN, release(1).release)


def test_what_never_left_is_free_again_and_what_left_never_is(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    ledger.reserve(RUN, release(1), budget=None)
    ledger.release(RUN, release(1).release, reason="the run was stopped before sending")
    assert ledger.book.epsilon() == 0
    ledger.reserve(RUN, release(1), budget=None)
    ledger.commit(RUN, release(1).release)
    with pytest.raises(IllegalMove):
        ledger.release(RUN, release(1).release, reason="changed our mind")
    assert ledger.book.epsilon() > 0


def _spend_on_agreeing(ledger: PrivacyLedger, statistics, *, runs: int) -> None:
    for run in (f"{number:08x}{RUN[8:]}" for number in range(runs)):
        ledger.allot(allotment(run).model_copy(update={"statistics": statistics}), budget=None)
        ledger.reserve(run, statistics, budget=None)
        ledger.commit(run, statistics.release)


def test_a_bank_without_a_bound_declines_the_run_with_which_no_epsilon_could_be_stated(tmp_path):
    """Each run that agrees on categories takes a tenth of delta; when delta is used up the agent says so and lives."""
    ledger, event = a_ledger(tmp_path), an_event()
    agreeing = an_event(release="c" * 64, base_digest=None, mechanism="gaussian", sampling_rate=1.0, steps=1, failure=event.delta / 10)
    with pytest.raises(BudgetExceeded, match="chance of failure") as refused:
        _spend_on_agreeing(ledger, agreeing, runs=20)
    assert 8 <= len(ledger.book.runs) <= 10
    assert "categories" in refused.value.action
    assert math.isfinite(ledger.book.epsilon())


def test_the_same_release_again_costs_nothing_more(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    for _ in range(3):
        ledger.allot(allotment(), budget=None)
        ledger.reserve(RUN, release(1), budget=None)
        ledger.commit(RUN, release(1).release)
    assert ledger.seq == 3


def test_nothing_is_reserved_beyond_or_beside_the_allotment(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(updates=2), budget=None)
    for refused in (release(1, noise_multiplier=1.0), release(1, steps=11), release(1, clip=2.0)):
        with pytest.raises(BudgetExceeded):
            ledger.reserve(RUN, refused, budget=None)
    ledger.reserve(RUN, release(1), budget=None)
    ledger.reserve(RUN, release(2), budget=None)
    with pytest.raises(BudgetExceeded, match="at most 2 updates"):
        ledger.reserve(RUN, release(3), budget=None)
    with pytest.raises(IllegalMove):
        ledger.reserve(OTHER_RUN, release(3), budget=None)
    assert ledger.seq == 3


def test_a_closed_run_frees_what_it_did_not_use(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    ledger.reserve(RUN, release(1), budget=None)
    with pytest.raises(IllegalMove):
        ledger.close(RUN, reason="a release is unsettled")
    ledger.commit(RUN, release(1).release)
    before = ledger.book.epsilon_with()
    ledger.close(RUN, reason="finished")
    assert ledger.book.epsilon_with() == ledger.book.epsilon() < before
    with pytest.raises(IllegalMove):
        ledger.reserve(RUN, release(2), budget=None)


# ----------------------------------------------------------------------- budget
def test_a_run_that_would_exceed_the_bound_cannot_start_whatever_its_project(tmp_path):
    ledger = a_ledger(tmp_path)
    one = epsilon_of(allotment().spending, 1e-6)
    both = epsilon_of(allotment(updates=6).spending, 1e-6)
    assert one < both < 2 * one, "epsilons are composed, never added"
    ledger.allot(allotment(), budget=both)
    other = allotment(OTHER_RUN).model_copy(update={"project": "cards"})
    with pytest.raises(BudgetExceeded):
        ledger.allot(other, budget=both * 0.99)
    assert ledger.seq == 1
    ledger.allot(other, budget=both)


def test_a_plan_that_understates_its_cost_is_refused(tmp_path):
    with pytest.raises(BudgetExceeded):
        a_ledger(tmp_path).allot(allotment().model_copy(update={"epsilon": 0.5}), budget=None)


def test_a_bound_lowered_in_the_middle_stops_the_next_release(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=50.0)
    ledger.reserve(RUN, release(1), budget=50.0)
    with pytest.raises(BudgetExceeded):
        ledger.reserve(RUN, release(2), budget=0.1)


@settings(max_examples=12, deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from(["reserve", "commit", "release", "close"]), st.integers(1, 4)), max_size=12))
def test_whatever_happens_no_more_is_spent_than_was_promised_and_a_restart_knows_it(tmp_path_factory, moves):
    folder = tmp_path_factory.mktemp("ledger")
    ledger = a_ledger(folder)
    ledger.allot(allotment(), budget=None)
    most = ledger.book.epsilon_with()
    for move, number in moves:
        before = ledger.seq
        try:
            match move:
                case "reserve":
                    ledger.reserve(RUN, release(number), budget=None)
                case "commit":
                    ledger.commit(RUN, release(number).release)
                case "release":
                    ledger.release(RUN, release(number).release, reason="test")
                case "close":
                    ledger.close(RUN, reason="test")
        except (IllegalMove, BudgetExceeded):
            assert ledger.seq == before
        assert ledger.book.epsilon() <= ledger.book.epsilon_with() <= most
    again = a_ledger(folder)
    assert (again.seq, again.book.spent, again.book.promised) == (ledger.seq, ledger.book.spent, ledger.book.promised)


# ------------------------------------------------------------------------- disk
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    with (tmp_path / "retail.jsonl").open("ab") as file:
        file.write(b'{"entry":{"chain":"privacy/nor')
    again = a_ledger(tmp_path)
    assert again.seq == 1
    again.reserve(RUN, release(1), budget=None)
    assert a_ledger(tmp_path).seq == 2


@pytest.mark.parametrize(
    ("old", "new"), [(b'"updates":3', b'"updates":9'), (b'"hash":"', b'"hash":"0'), (b'"seq":1', b'"seq":2')]
)
def test_a_changed_line_is_noticed(tmp_path, old, new):
    a_ledger(tmp_path).allot(allotment(), budget=None)
    path = tmp_path / "retail.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(LedgerBroken):
        a_ledger(tmp_path)


# ------------------------------------------------------------------- both sides
def test_a_restored_backup_locks_until_people_reconcile(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    backup = (tmp_path / "retail.jsonl").read_bytes()
    ledger.reserve(RUN, release(1), budget=None)
    ledger.commit(RUN, release(1).release)
    word = countersigned(ledger)
    (tmp_path / "retail.jsonl").write_bytes(backup)
    restored = a_ledger(tmp_path)
    with pytest.raises(PrivacyLedgerLocked):
        restored.confront(word)
    for attempt in (restored, a_ledger(tmp_path)):
        with pytest.raises(PrivacyLedgerLocked):
            attempt.reserve(RUN, release(1), budget=None)
    restored.reconcile(by="operator", reason="restored from a backup", charged=[SpentRelease(run=RUN, event=release(1))])
    assert restored.book.epsilon() == ledger.book.epsilon()
    restored.reserve(RUN, release(2), budget=None)
    with pytest.raises(IllegalMove):
        restored.release(RUN, release(1).release, reason="it never left")


def test_a_run_that_has_ended_gives_back_what_it_did_not_use(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    ledger.reserve(RUN, release(1), budget=None)
    ledger.commit(RUN, release(1).release)
    ledger.reserve(RUN, release(2), budget=None)
    whole = ledger.book.epsilon_with()
    ledger.settle(RUN, reason="the run has finished")
    assert ledger.book.epsilon_with() == ledger.book.epsilon() < whole
    ledger.settle(RUN, reason="again changes nothing")
    ledger.settle(OTHER_RUN, reason="nor does a run of another ledger")
    assert a_ledger(tmp_path).book.epsilon() == ledger.book.epsilon()


def test_a_portal_that_is_behind_locks_the_ledger_too(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    early = countersigned(ledger)
    ledger.reserve(RUN, release(1), budget=None)
    ledger.confront(early)
    ledger.confront(countersigned(ledger))
    with pytest.raises(PrivacyLedgerLocked):
        ledger.confront(early)


@pytest.mark.parametrize("change", [{"hash": "f" * 64}, {"subject": "another"}, {"epoch": 1}])
def test_a_word_about_another_history_locks(tmp_path, change):
    ledger = a_ledger(tmp_path)
    ledger.allot(allotment(), budget=None)
    with pytest.raises(PrivacyLedgerLocked):
        ledger.confront(countersigned(ledger, **change))
    assert ledger.lock is not None


def test_the_portal_accepts_what_extends_its_last_word_and_nothing_else(tmp_path):
    ledger, other = a_ledger(tmp_path / "a"), a_ledger(tmp_path / "b")
    ledger.allot(allotment(), budget=None)
    first = ledger.head_update(KEY)
    require_extends(parse(PrivacyHead, first.head.document), first, None, None)
    word = countersigned(ledger)
    ledger.confront(word)
    known = parse(PrivacyCountersignature, word.document)
    ledger.reserve(RUN, release(1), budget=None)
    update = ledger.head_update(KEY)
    head = parse(PrivacyHead, update.head.document)
    assert (update.since_seq, len(update.links)) == (1, 1)
    require_extends(head, update, known, known.hash)
    other.allot(allotment(OTHER_RUN), budget=None)
    other.reserve(OTHER_RUN, release(1), budget=None)
    forked = other.head_update(KEY)
    empty = a_ledger(tmp_path / "c").head_update(KEY)
    for refused in (forked, empty, update.model_copy(update={"links": ["0" * 64]}), update.model_copy(update={"links": []})):
        since = GENESIS if refused is empty else known.hash
        with pytest.raises(PrivacyLedgerLocked):
            require_extends(parse(PrivacyHead, refused.head.document), refused, known, since)


def test_a_reconciliation_needs_the_portals_consent(tmp_path):
    ledger = a_ledger(tmp_path)
    ledger.reconcile(by="operator", reason="test", charged=[])
    update = ledger.head_update(KEY)
    with pytest.raises(PrivacyLedgerLocked, match="reconciliation"):
        require_extends(parse(PrivacyHead, update.head.document), update, None, None)


# --------------------------------------------------------------------- releases
def test_a_release_survives_a_crash_with_the_same_noise(tmp_path):
    plan = private_plan()

    def releases() -> Releases:
        return Releases(plan, a_ledger(tmp_path), tmp_path / "keys", run=RUN, rows=400, budget=1.0)

    running = releases()
    running.allot()
    name, stream = running.begin(BASES[0])
    again, same = releases().begin(BASES[0])
    assert again == name
    assert stream.words(3).tolist() == same.words(3).tolist()
    other, another = releases().begin(BASES[1])
    assert other != name
    assert another.words(3).tolist() != words_of_key(tmp_path, name)
    assert (tmp_path / "keys" / f"{name}.key").stat().st_mode & 0o777 == 0o600


def words_of_key(folder, name):
    from clientagent.wire.privacy.stream import Stream

    return Stream((folder / "keys" / f"{name}.key").read_bytes()).words(3).tolist()


def test_a_whole_run_spends_at_most_what_its_plan_says_and_says_so(tmp_path):
    plan = private_plan()
    releases = Releases(plan, a_ledger(tmp_path), tmp_path / "keys", run=RUN, rows=400, budget=1.0)
    releases.allot()
    spent = [0.0]
    for base in BASES[:2]:
        name, _ = releases.begin(base)
        releases.leaving(name)
        statement = releases.statement(name, KEY)
        assert statement.run_epsilon_before == spent[-1]
        spent.append(statement.run_epsilon)
    assert 0 < spent[1] < spent[2] <= 1.0
    assert statement.subject_epsilon <= statement.budget == 1.0
    assert [path.stem for path in (tmp_path / "keys").iterdir()] == [name], "only the last release may have to be repeated"
    with pytest.raises(BudgetExceeded):
        releases.begin(BASES[2])


def test_a_release_that_left_is_never_made_again_with_other_noise(tmp_path):
    releases = Releases(private_plan(), a_ledger(tmp_path), tmp_path / "keys", run=RUN, rows=400, budget=None)
    releases.allot()
    name, _ = releases.begin(BASES[0])
    releases.leaving(name)
    (tmp_path / "keys" / f"{name}.key").unlink()
    with pytest.raises(PrivacyUnsound, match="second release"):
        releases.begin(BASES[0])


def test_an_attempt_repeats_a_release_and_an_async_slot_is_one_of_its_own(tmp_path):
    together = Releases(private_plan(), a_ledger(tmp_path / "sync"), tmp_path / "keys", run=RUN, rows=400, budget=None)
    together.allot()
    assert together.begin(BASES[0], slot=1).name == together.begin(BASES[0], slot=2).name
    plan = private_plan(schedule__mode="async", schedule__max_updates_per_bank=2)
    apart = Releases(plan, a_ledger(tmp_path / "async"), tmp_path / "keys", run=RUN, rows=400, budget=None)
    apart.allot()
    assert apart.begin(BASES[0], slot=1).name != apart.begin(BASES[0], slot=2).name
    with pytest.raises(BudgetExceeded, match="at most 2 updates"):
        apart.begin(BASES[0], slot=3)


def test_a_second_run_on_the_same_customers_needs_its_own_room(tmp_path):
    plan, ledger = private_plan(), a_ledger(tmp_path)
    Releases(plan, ledger, tmp_path / "keys", run=RUN, rows=400, budget=1.0).allot()
    with pytest.raises(BudgetExceeded):
        Releases(plan, ledger, tmp_path / "keys", run=OTHER_RUN, rows=400, budget=1.0).allot()
