"""What a run has cost in privacy, computed anew from its downloaded history, and held against what was stated."""

from __future__ import annotations

import json

import pytest

from clientagent.history import spending
from clientagent.history.spending import SpendingStory
from clientagent.history.verify import verify_history
from clientagent.wire.errors import LedgerBroken
from clientagent.wire.messages import RosterEntry, UpdateManifest
from clientagent.wire.plan import parse_plan
from clientagent.wire.privacy.accounting import epsilon_of
from clientagent.wire.privacy.events import together
from clientagent.wire.signing import parse
from rounds.exports import downloads
from rounds.models import Update
from tests.agent.test_cli import as_json, fedagent
from tests.rounds.test_bank_privacy import noised  # noqa: F401
from tests.rounds.test_bank_privacy import whole_round as noised_round
from tests.rounds.test_privacy import banks, private  # noqa: F401
from tests.rounds.test_privacy import whole_round as private_round


def history_of(federation):
    return verify_history(json.dumps(downloads.history(federation.run)).encode())


def finish(federation, banks):  # noqa: F811
    """The closing evaluation, and the end."""
    for bank in banks:
        if (order := bank.work()) is not None and order["kind"] == "evaluate":
            assert bank.evaluate(order).status_code == 200
    federation.advance()
    assert federation.run.state == "finished"


def test_customers_epsilon_follows_from_the_history(private, banks):  # noqa: F811
    private_round(private, banks)
    private_round(private, banks)
    finish(private, private.banks)
    verified = history_of(private)
    assert verified.spent_as_stated
    assert [(one.institution, one.unit, one.events) for one in verified.privacy] == [
        (bank.slug, "record", 2) for bank in sorted(private.banks, key=lambda bank: bank.slug)
    ]
    for one in verified.privacy:
        assert one.computed == pytest.approx(one.stated)
        assert 0 < one.stated <= one.allowed == 2.0


def test_the_command_says_whether_the_stated_epsilon_holds(private, banks, tmp_path):  # noqa: F811
    private_round(private, banks)
    file = tmp_path / "history.json"
    file.write_text(json.dumps(downloads.history(private.run)))
    done = fedagent("verify", str(file))
    assert done.returncode == 0, done.stderr
    assert "no more than was stated" in done.stdout
    code, verified = as_json("verify", str(file))
    assert code == 0
    assert [(row["unit"], row["holds"]) for row in verified["privacy"]] == [("record", True)] * 3


def test_a_refused_update_counts_though_nobody_stated_it(private, banks):  # noqa: F811
    bank, run = banks[0], private.run
    run.refresh_from_db()
    order = bank.scripted.work()
    statement = bank.statement(run, order)
    signed, data = bank.scripted.update(run, order, bank.scripted.difference(run, 0), train_loss=None, privacy=statement)
    assert bank.scripted.send(signed, data[:-4] + b"\x00\x00\xc0\x7f").status_code >= 400
    found = {one.institution: one for one in history_of(private).privacy}["north"]
    assert (found.events, found.stated) == (1, 0.0)
    assert found.computed == pytest.approx(statement.run_epsilon)
    assert found.holds


def test_banks_epsilon_follows_from_the_noise_of_each_sum(noised):  # noqa: F811
    noised_round(noised)
    noised_round(noised)
    finish(noised, noised.banks)
    verified = history_of(noised)
    assert [(one.unit, one.events, one.holds) for one in verified.privacy] == [("institution", 2, True)] * 3
    assert verified.privacy[0].computed == pytest.approx(verified.privacy[0].stated)


# ------------------------------------------------------------------- what does not hold
@pytest.fixture
def told(private, banks):  # noqa: F811
    """A signed update of a private round, and the story of its run."""
    private_round(private, banks)
    update = Update.objects.filter(participation__institution__slug="north").get()
    manifest = parse(UpdateManifest, update.manifest["document"])
    roster = {entry.institution: entry for entry in private.run.roster.values()}
    return private.run.plan.document, roster, manifest


def lied(manifest: UpdateManifest, *, run_epsilon: float | None = None, **event) -> UpdateManifest:
    assert manifest.privacy is not None
    changes = {"event": manifest.privacy.event.model_copy(update=event)}
    if run_epsilon is not None:
        changes["run_epsilon"] = run_epsilon
    return manifest.model_copy(update={"privacy": manifest.privacy.model_copy(update=changes)})


def test_an_epsilon_that_was_stated_too_small_does_not_hold(told):
    plan, roster, manifest = told
    story = SpendingStory(plan, roster)
    story.left(lied(manifest, run_epsilon=manifest.privacy.run_epsilon / 2))
    assert [one.holds for one in story.spent()] == [False]


def test_noise_too_weak_for_the_plan_does_not_hold(told):
    plan, roster, manifest = told
    story = SpendingStory(plan, roster)
    weak = manifest.privacy.event.noise_multiplier / 3
    epsilon = epsilon_of(together([manifest.privacy.event.model_copy(update={"noise_multiplier": weak})]), manifest.privacy.event.delta)
    assert epsilon > 2.0
    story.left(lied(manifest, noise_multiplier=weak, run_epsilon=epsilon))
    assert [one.holds for one in story.spent()] == [False]


@pytest.mark.parametrize("change", [{"steps": 1}, {"sampling_rate": 0.01}, {"clip": 0.5}, {"delta": 1e-3}, {"mechanism": "gaussian"}])
def test_an_event_that_is_not_the_plans_is_found(told, change):
    plan, roster, manifest = told
    with pytest.raises(LedgerBroken, match="event"):
        SpendingStory(plan, roster).left(lied(manifest, **change))


def test_without_an_accountant_it_is_said_that_nothing_was_computed(told, monkeypatch):
    plan, roster, manifest = told
    monkeypatch.setattr(spending, "_epsilon", lambda events, delta: None)
    story = SpendingStory(plan, roster)
    story.left(manifest)
    assert [(one.computed, one.holds) for one in story.spent()] == [(None, None)]


def test_the_statistics_of_a_history_that_does_not_record_them_are_counted(told):
    plan, roster, manifest = told
    document = plan.model_dump(mode="json")
    document["privacy"]["record_dp"] |= {"statistics": 0.2, "bounds": {"income": [0, 100]}}
    protected = parse_plan(document)
    story, bare = SpendingStory(protected, roster), SpendingStory(plan, roster)
    for one in (story, bare):
        one.left(manifest)
    assert story.spent()[0].computed > bare.spent()[0].computed


def test_a_bank_that_is_on_no_roster_breaks_nothing(told):
    plan, _, manifest = told
    empty: dict[str, RosterEntry] = {}
    story = SpendingStory(plan, empty)
    story.left(manifest)
    assert story.spent()[0].events == 1
