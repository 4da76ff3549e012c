"""What the portal takes from a bank under record_dp, what it refuses, and when a bank's privacy ledger locks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse

from audit.models import Entry
from clientagent.privacy.ledger import PrivacyLedger
from clientagent.privacy.releases import Releases
from clientagent.wire.errors import BudgetExceeded, IllegalMove, Malformed
from clientagent.wire.messages import PrivacyCountersignature, PrivacyStatement
from clientagent.wire.signing import Signed, parse
from rounds import services
from rounds.models import PrivacyAccount, PrivacyRelease
from rounds.selectors.privacy import epsilon_after, position_for
from tests.cast import browser
from tests.rounds.scripted import INSTANT, Federation, ScriptedBank, make_federation

PRIVATE = {
    "privacy": {"record_dp": {"epsilon": 2.0, "sampling": 0.2, "statistics": 0.0}},
    "schedule": {"rounds": 2, "select": "last"},
}


@dataclass
class PrivateBank:
    """A bank of the script, with the agent's own books."""

    scripted: ScriptedBank
    folder: Path
    budget: float | None = None

    def ledger(self) -> PrivacyLedger:
        return PrivacyLedger(self.folder, institution=self.scripted.slug, lineage="retail", now=lambda: INSTANT)

    def releases(self, run) -> Releases:
        scripted = self.scripted
        return Releases(
            scripted.plan, self.ledger(), self.folder / "keys", run=str(run.pk), rows=scripted.rows, budget=self.budget
        )

    def statement(self, run, order) -> PrivacyStatement:
        releases = self.releases(run)
        releases.allot()
        release = releases.begin(order["base_digest"], slot=order["attempt"])
        said = releases.statement(release.name, self.scripted.bank.key)
        releases.leaving(release.name)
        return said

    def train(self, run, **changes: Any):
        """Take the order that waits and answer it under the plan's privacy; ``changes`` are what the bank lies about."""
        run.refresh_from_db()
        order = self.scripted.work()
        assert order is not None
        statement = self.statement(run, order).model_copy(update=changes)
        flat = self.scripted.difference(run, 0)
        signed, data = self.scripted.update(run, order, flat, train_loss=None, privacy=statement)
        return self.scripted.send(signed, data)


@pytest.fixture
def private(north, south, east, admin) -> Federation:
    federation = make_federation([north, south, east], admin, **PRIVATE)
    federation.begin()
    return federation


@pytest.fixture
def banks(private, tmp_path) -> list[PrivateBank]:
    return [PrivateBank(bank, tmp_path / bank.slug) for bank in private.banks]


def whole_round(federation, banks):
    for bank in banks:
        answer = bank.train(federation.run)
        assert answer.status_code == 200, answer.content
    federation.advance()


def code(answer) -> str:
    return answer.json()["code"]


def test_a_private_round_is_booked_and_countersigned(private, banks):
    answer = banks[0].train(private.run)
    assert answer.status_code == 200
    word = parse(PrivacyCountersignature, Signed.model_validate(answer.json()["privacy"]).document)
    ledger = banks[0].ledger()
    assert (word.institution, word.subject, word.seq) == ("north", "retail", ledger.seq - 1), "the commit came after the head"
    ledger.confront(Signed.model_validate(answer.json()["privacy"]))
    account = PrivacyAccount.objects.get(institution__slug="north")
    assert account.epsilon == pytest.approx(ledger.book.epsilon())
    for bank in banks[1:]:
        bank.train(private.run)
    private.advance()
    whole_round(private, banks)
    first, second = epsilon_after(private.run, 1), epsilon_after(private.run, 2)
    assert 0 < first < second <= 2.0
    assert PrivacyRelease.objects.filter(run=private.run).count() == 6


def test_an_update_that_is_refused_has_still_spent(private, banks):
    bank, run = banks[0], private.run
    run.refresh_from_db()
    order = bank.scripted.work()
    statement = bank.statement(run, order)
    signed, data = bank.scripted.update(run, order, bank.scripted.difference(run, 0), train_loss=None, privacy=statement)
    answer = bank.scripted.send(signed, data[:-4] + b"\x00\x00\xc0\x7f")
    assert answer.status_code >= 400
    assert PrivacyRelease.objects.get().release == statement.event.release
    assert epsilon_after(run, 1) == statement.run_epsilon


@pytest.mark.parametrize(
    ("lie", "refused"),
    [
        (lambda said: {"run_epsilon": said.run_epsilon / 2}, "privacy_unsound"),
        (lambda said: {"event": said.event.model_copy(update={"noise_multiplier": 0.5})}, "privacy_unsound"),
        (lambda said: {"event": said.event.model_copy(update={"steps": 999})}, "privacy_unsound"),
        (lambda said: {"event": said.event.model_copy(update={"release": "f" * 64})}, "privacy_unsound"),
        (lambda said: {"subject": "other"}, "not_allowed"),
    ],
)
def test_a_statement_that_is_not_as_the_plan_says_is_refused(private, banks, lie, refused):
    bank, run = banks[0], private.run
    order = bank.scripted.work()
    said = bank.statement(run, order)
    said = said.model_copy(update=lie(said))
    run.refresh_from_db()
    signed, data = bank.scripted.update(run, order, bank.scripted.difference(run, 0), train_loss=None, privacy=said)
    assert code(bank.scripted.send(signed, data)) == refused
    assert not PrivacyRelease.objects.exists()


def test_an_update_without_a_statement_or_with_a_loss_is_refused(private, banks):
    scripted, run = banks[0].scripted, private.run
    assert code(scripted.train(run)) == "privacy_unsound"
    run.refresh_from_db()
    order = banks[1].scripted.work()
    said = banks[1].statement(run, order)
    signed, data = banks[1].scripted.update(run, order, scripted.difference(run, 0), train_loss=0.5, privacy=said)
    assert code(banks[1].scripted.send(signed, data)) == "privacy_unsound"


class AgentIdentityOf:
    def __init__(self, bank: PrivateBank) -> None:
        self.institution_id = bank.scripted.bank.institution.pk


def restored_backup(bank: PrivateBank, saved: bytes) -> None:
    next(bank.folder.glob("*.jsonl")).write_bytes(saved)


def test_a_restored_backup_at_the_bank_locks_until_people_have_reconciled(private, banks, admin):
    bank = banks[0]
    whole_round(private, banks)
    saved = next(bank.folder.glob("*.jsonl")).read_bytes()
    lines = saved.splitlines(keepends=True)
    restored_backup(bank, b"".join(lines[:1]))  # the backup is from before round 1
    assert code(bank.train(private.run)) == "privacy_ledger_locked"
    account = PrivacyAccount.objects.get(institution__slug="north")
    assert "older copy" in account.locked["got"] or "another" in account.locked["got"]
    assert Entry.objects.filter(kind="privacy_ledger_locked", chain_id=private.run.chain).count() == 1
    assert code(bank.train(private.run)) == "privacy_ledger_locked", "and stays so"

    with pytest.raises(Malformed):
        services.confirm_reconciliation(account=account, user=admin, reason=" ")
    services.confirm_reconciliation(account=account, user=admin, reason="Compared with the bank by telephone.")
    assert code(bank.train(private.run)) == "privacy_ledger_locked", "the bank has to reconcile too"
    seen = position_for(AgentIdentityOf(bank), "retail")
    known = set(bank.ledger().book.run(str(private.run.pk)).releases)
    charged = [spent for spent in seen.releases if spent.event.release not in known]
    assert len(charged) == 1
    bank.ledger().reconcile(by="operator", reason="The disk was restored.", charged=charged)
    answer = bank.train(private.run)
    assert answer.status_code == 200, answer.content
    assert parse(PrivacyCountersignature, Signed.model_validate(answer.json()["privacy"]).document).epoch == 1
    assert Entry.objects.filter(kind="privacy_reconciled").count() == 1
    with pytest.raises(IllegalMove):
        services.confirm_reconciliation(account=account, user=admin, reason="Again.")


def test_a_portal_that_forgot_locks_too(private, banks):
    whole_round(private, banks)
    account = PrivacyAccount.objects.get(institution__slug="north")
    ledger = banks[0].ledger()
    from rounds.services.privacy_ledgers import countersigned

    ledger.confront(countersigned(AgentIdentityOf(banks[0]), {"privacy": {"subject": "retail"}}))
    account.links.all().delete()
    PrivacyAccount.objects.filter(pk=account.pk).update(seq=0, hash="0" * 64)
    assert code(banks[0].train(private.run)) == "privacy_ledger_locked"


def test_a_resent_statement_of_an_earlier_head_does_not_lock(private, banks):
    bank, run = banks[0], private.run
    run.refresh_from_db()
    order = bank.scripted.work()
    said = bank.statement(run, order)
    signed, data = bank.scripted.update(run, order, bank.scripted.difference(run, 0), train_loss=None, privacy=said)
    assert bank.scripted.send(signed, data).status_code == 200
    assert bank.scripted.send(signed, data).status_code == 200
    assert PrivacyRelease.objects.count() == 1
    assert PrivacyAccount.objects.get().locked is None


def test_a_run_that_would_exceed_a_known_budget_is_not_proposed(private, banks, admin):
    for bank in banks:
        bank.budget = 2.5
    whole_round(private, banks)
    whole_round(private, banks)
    with pytest.raises(BudgetExceeded, match="bank's own bound is 2.5"):
        services.propose_run(plan=private.run.plan, user=admin)


def test_async_spends_by_slots_up_to_the_plans_bound(north, south, east, admin, tmp_path):
    document = {**PRIVATE, "schedule": {"mode": "async", "rounds": 2, "buffer": 3, "max_updates_per_bank": 2, "select": "last"}}
    federation = make_federation([north, south, east], admin, **document)
    federation.begin()
    bank = PrivateBank(federation.banks[0], tmp_path)
    spent = []
    for _ in itertools.repeat(None, 2):
        assert bank.train(federation.run).status_code == 200
        spent.append(PrivacyAccount.objects.get().epsilon)
    assert spent[0] < spent[1] <= 2.0
    assert bank.scripted.work() is None, "no third order"


# ------------------------------------------------------------------------ pages
def page(user, name, *arguments) -> str:
    return browser(user).get(reverse(f"rounds:{name}", args=arguments)).content.decode()


def test_a_runs_page_shows_spending_to_whom_it_concerns_and_what_is_not_covered(private, banks, admin):
    for bank in banks:
        bank.budget = 2.5
    whole_round(private, banks)
    run = private.run
    overseen, own = page(admin, "run", run.pk), page(banks[0].scripted.bank.operator, "run", run.pk)
    assert "Privacy spent" in overseen
    assert overseen.count("<code>retail</code>") == 3
    assert own.count("<code>retail</code>") == 1
    assert "Evaluation counts" in own
    plan = page(admin, "plan", run.plan.hash)
    assert "too much: the run cannot start" in plan, "a second run of epsilon 2 beside this one"
    assert "It spends epsilon" in plan


def test_an_administrator_confirms_a_reconciliation_with_a_reason(private, banks, admin):
    whole_round(private, banks)
    account = PrivacyAccount.objects.get(institution__slug="north")
    PrivacyAccount.objects.filter(pk=account.pk).update(locked={"expected": "entry 3", "got": "entry 1", "action": ""})
    slug = private.run.plan.project.slug
    assert "Confirm the reconciliation" in page(admin, "project", slug)
    assert "Confirm the reconciliation" not in page(banks[0].scripted.bank.operator, "project", slug)
    address = reverse("rounds:privacy-reconcile", args=[slug, account.pk])
    browser(admin).post(address, {"reason": ""})
    assert PrivacyAccount.objects.get(pk=account.pk).locked
    browser(admin).post(address, {"reason": "Compared by telephone."})
    assert PrivacyAccount.objects.get(pk=account.pk).locked is None
