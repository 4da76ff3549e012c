"""What each bank as a whole may lose in a project: one budget over all its runs, kept by the portal, shown and countersigned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse

from audit.models import Entry
from clientagent.history.shown import ShownStory
from clientagent.history.verify import verify_history
from clientagent.privacy.ledger import PrivacyLedger
from clientagent.wire.errors import BudgetExceeded, IllegalMove, LedgerBroken, Malformed
from clientagent.wire.messages import BankPrivacy, PrivacyCountersignature
from clientagent.wire.phrases import phrasebook
from clientagent.wire.privacy.book import Allotted, release_of
from clientagent.wire.privacy.institution import institution_terms
from clientagent.wire.signing import Signed, parse
from rounds import services
from rounds.exports import downloads
from rounds.models import PrivacyAccount, Run
from rounds.selectors.outlooks import outlooks
from tests.cast import browser
from tests.rounds.scripted import INSTANT, ScriptedBank, make_federation
from tests.rounds.test_bank_privacy import NOISED, clipped, noised, whole_round  # noqa: F401

pytestmark = pytest.mark.django_db


class Books:
    """A bank of the script, with the agent's own ledger of itself as a whole."""

    def __init__(self, scripted: ScriptedBank, folder: Path) -> None:
        self.scripted, self.folder = scripted, folder

    @property
    def ledger(self) -> PrivacyLedger:
        return PrivacyLedger(self.folder, institution=self.scripted.slug, lineage="project:retail", now=lambda: INSTANT)

    def allot(self, run: Run) -> None:
        terms = institution_terms(self.scripted.plan)
        self.ledger.allot(Allotted(
            run=str(run.pk), project="retail", plan_hash=self.scripted.plan.hash, epsilon=terms.epsilon, delta=terms.delta,
            updates=terms.updates, statistics=None, update=terms.event("0" * 64, "0" * 64),
        ), budget=None)  # fmt: skip

    def reserve(self, run: Run, base: str) -> None:
        release = release_of(run=str(run.pk), institution=self.scripted.slug, base_digest=base)
        self.ledger.reserve(str(run.pk), institution_terms(self.scripted.plan).event(release, base), budget=None)

    def show(self, run: Run, /, **changes: object):
        ledger, key = self.ledger, self.scripted.bank.key
        said = BankPrivacy(
            institution=self.scripted.slug, run=str(run.pk), project="retail", epsilon=ledger.book.epsilon(),
            promised=ledger.book.epsilon_with(), delta=ledger.book.delta, budget=9.0, head=ledger.head_update(key),
        )
        return self.scripted.post("privacy/ledgers", said.model_copy(update=changes))


@pytest.fixture
def books(noised, tmp_path) -> Books:  # noqa: F811
    mine = Books(noised.banks[0], tmp_path)
    mine.allot(noised.run)
    return mine


def set_budget(admin, epsilon: float | None, reason: str = "Agreed by the committee."):
    from rounds.models import Project

    return services.set_budget(project=Project.objects.get(slug="retail"), epsilon=epsilon, reason=reason, user=admin)


def ended(run: Run) -> None:
    run.refresh_from_db()
    services.stop_run(run=run, user=None, reason="A test.")


# ----------------------------------------------------------------- the portal's side
def test_a_run_beyond_the_projects_budget_is_not_proposed_even_before_another_has_spent_anything(north, south, east, admin):
    federation = make_federation([north, south, east], admin, **NOISED)
    set_budget(admin, 8.5)
    with pytest.raises(BudgetExceeded, match="north as a whole: epsilon .* and the project's budget is 8.5"):
        services.propose_run(plan=federation.run.plan, user=admin)
    set_budget(admin, 12.5)
    services.propose_run(plan=federation.run.plan, user=admin)
    with pytest.raises(BudgetExceeded):
        services.propose_run(plan=federation.run.plan, user=admin)


def test_what_ended_runs_did_not_spend_is_free_again_and_what_they_spent_is_not(noised, admin):  # noqa: F811
    whole_round(noised)
    ended(noised.run)
    spent = PrivacyAccount.objects.get(institution__slug="north").epsilon
    assert 0 < spent < 8.0
    (after,) = {one.after for one in outlooks(noised.run.plan.project, noised.run.plan.document)}
    assert max(8.0, spent) < after < 8.0 + spent, "composed, not added"
    set_budget(admin, after * 1.01)
    services.propose_run(plan=noised.run.plan, user=admin)


def test_a_budget_cannot_be_set_below_what_runs_hold(noised, admin):  # noqa: F811
    with pytest.raises(BudgetExceeded, match="north 8"):
        set_budget(admin, 7.9)
    set_budget(admin, 8.0)
    ended(noised.run)
    set_budget(admin, 0.5)


@pytest.mark.parametrize(("epsilon", "reason"), [(0.0, "x"), (-1.0, "x"), (float("nan"), "x"), (1e9, "x"), (8.0, "  ")])
def test_a_budget_is_a_positive_number_with_a_reason(noised, admin, epsilon, reason):  # noqa: F811
    with pytest.raises(Malformed):
        set_budget(admin, epsilon, reason)


def test_a_plan_that_leaves_out_more_makes_no_larger_budget(north, south, east, admin):
    lax = {**NOISED, "privacy": {"institution_dp": {"epsilon": 8.0, "delta": 9e-3, "clip": 0.5}}}
    federation = make_federation([north, south, east], admin, **lax)
    promised = outlooks(federation.run.plan.project, federation.run.plan.document)[0]
    assert promised.delta == 1e-5
    assert promised.promised > 8.0


# -------------------------------------------------------------------- in the browser
def test_the_administrator_sets_it_and_everybody_reads_it(noised, admin, auditor, north):  # noqa: F811
    page = browser(admin)
    assert "sets no bound" in page.get("/projects/retail/").content.decode()
    address = reverse("rounds:project-budget", args=["retail"])
    refused = page.post(address, {"epsilon": "3", "reason": "Small."})
    assert "a budget that holds what past runs" in refused.content.decode()
    assert page.post(address, {"epsilon": "0", "reason": "None."}).status_code == 200
    assert page.post(address, {"epsilon": "12", "reason": "Agreed by the committee."}).status_code == 302
    entry = Entry.objects.get(kind="privacy_budget_set")
    assert (entry.chain_id, entry.body["epsilon"], entry.body["was"]) == ("project/retail", 12.0, None)
    for reader, sees_all in ((page, True), (browser(auditor), True), (north.browser(), False)):
        text = reader.get("/projects/retail/").content.decode().partition('id="privacy-title"')[2].partition("</section>")[0]
        assert "at most ε 12" in text
        assert "of the project" in text
        assert ("South Bank" in text) is sees_all


def test_the_plan_says_what_a_run_would_leave_and_that_it_cannot_start(noised, admin):  # noqa: F811
    set_budget(admin, 9.0)
    page = " ".join(browser(admin).get(f"/plans/{noised.run.plan.hash}/").content.decode().split())
    assert "East Bank, North Bank, South Bank" in page, "banks for whom it means the same are named together"
    assert "ε 8.000 → " in page
    assert "too much: the run cannot start" in page
    answer = browser(admin).post(reverse("rounds:plan-start", args=[noised.run.plan.hash]), follow=True)
    assert "privacy budgets that hold this run" in answer.content.decode()
    assert Run.objects.count() == 1


# ------------------------------------------------------------- the bank's own ledger
def test_a_shown_ledger_is_countersigned_with_the_budget_and_stands_on_the_runs_ledger(noised, books, admin):  # noqa: F811
    set_budget(admin, 12.0)
    answer = books.show(noised.run)
    assert answer.status_code == 200, answer.content
    word = parse(PrivacyCountersignature, Signed.model_validate(answer.json()).document)
    assert (word.unit, word.subject, word.seq, word.budget) == ("institution", "retail", 1, 12.0)
    books.ledger.confront(Signed.model_validate(answer.json()))
    assert books.show(noised.run).json()["document"]["seq"] == 1, "again changes nothing"
    assert Entry.objects.filter(kind="bank_privacy_shown", chain_id=noised.run.chain).count() == 1
    account = PrivacyAccount.objects.get(institution__slug="north")
    assert (account.seq, account.budget) == (1, 9.0)


@pytest.mark.parametrize("changes", [{"project": "other"}, {"run": "00000000-0000-4000-8000-00000000000a"}])
def test_a_ledger_of_another_project_or_run_is_refused(noised, books, changes):  # noqa: F811
    assert books.show(noised.run, **changes).json()["code"] == "not_allowed"


def test_an_older_copy_locks_until_both_sides_have_reconciled(noised, books, admin):  # noqa: F811
    before = next(books.folder.glob("*.jsonl")).read_bytes()
    books.reserve(noised.run, noised.run.versions.get().digest)
    assert books.show(noised.run).status_code == 200
    next(books.folder.glob("*.jsonl")).write_bytes(before)  # the bank was restored from a backup, and goes on
    books.reserve(noised.run, "f" * 64)
    assert books.show(noised.run).json()["code"] == "privacy_ledger_locked"
    bank = noised.banks[0]
    noised.run.refresh_from_db()
    sent = bank.send(*bank.update(noised.run, bank.work(), clipped(noised, bank, 0)))
    assert sent.json()["code"] == "privacy_ledger_locked", "nothing is taken from a ledger that stands still"
    with pytest.raises(BudgetExceeded, match="its privacy ledger is locked"):
        services.propose_run(plan=noised.run.plan, user=admin)
    account = PrivacyAccount.objects.get(institution__slug="north")
    page = browser(admin)
    assert "locked" in page.get("/projects/retail/").content.decode()
    page.post(reverse("rounds:privacy-reconcile", args=["retail", account.pk]), {"reason": "Compared by telephone."})
    assert books.show(noised.run).json()["code"] == "privacy_ledger_locked", "the bank has to reconcile too"
    position = bank.bank.get("/api/v1/privacy?subject=project:retail").json()
    assert (position["locked"], position["epoch"]) == (False, 1)
    books.ledger.reconcile(by="operator", reason="The disk was restored.", charged=[])
    assert books.show(noised.run).status_code == 200
    assert bank.send(*bank.update(noised.run, bank.work(), clipped(noised, bank, 0))).status_code == 200
    with pytest.raises(IllegalMove):
        services.confirm_reconciliation(account=account, user=admin, reason="Again.")


def test_what_a_bank_showed_is_checked_by_whoever_verifies_the_history(noised, books):  # noqa: F811
    books.show(noised.run)
    books.reserve(noised.run, noised.run.versions.get().digest)
    books.show(noised.run)
    story = json.dumps(downloads.history(noised.run))
    verify_history(story.encode())
    history = json.loads(story)
    shown = [line for line in history["entries"] if line["entry"]["kind"] == "bank_privacy_shown"]
    assert len(shown) == 2
    reader = ShownStory(str(noised.run.pk), noised.run.plan.document, {}, [])
    reader.shown(shown[1]["entry"]["body"])
    with pytest.raises(LedgerBroken, match="after 2"):
        reader.shown(shown[0]["entry"]["body"])


def test_a_publishing_round_leaves_what_the_bank_has_shown(noised, books):  # noqa: F811
    books.show(noised.run)
    whole_round(noised)
    account = PrivacyAccount.objects.get(institution__slug="north")
    assert (account.seq, account.releases.count()) == (1, 1)
    assert account.epsilon > 0


def test_a_refusal_is_said_in_chinese_on_a_chinese_page(noised, books, admin):  # noqa: F811
    books.show(noised.run)
    account = PrivacyAccount.objects.get(institution__slug="north")
    page = browser(admin)
    page.cookies[settings.LANGUAGE_COOKIE_NAME] = "zh-hans"
    address = reverse("rounds:privacy-reconcile", args=["retail", account.pk])
    text = page.post(address, {"reason": "Nothing."}, follow=True).content.decode()
    assert phrasebook().say(IllegalMove.advice) in text
    assert IllegalMove.advice not in text
