"""What banks say of the result: accepted once and as declared, shown to whom it concerns, in totals only when all have spoken."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from audit.models import Entry
from clientagent.wire import messages
from clientagent.wire.plan import parse_plan
from rounds import services
from rounds.models import Appraisal, Update
from rounds.selectors.appraisals import appraisals_of, contributions
from rounds.selectors.scope import audience_of
from tests.cast import browser
from tests.rounds.scripted import Federation, plan_document
from tests.web.banks import PLACES, ROWS, TellingBank

pytestmark = pytest.mark.django_db
CENTRE = messages.SplitCounts(rows=40, loss_sum=20.0, bins=[(300, 20, 5), (700, 5, 10)])
TINY = messages.SplitCounts(rows=17, loss_sum=8.0, bins=[(300, 10, 7)])


def estimate(value: float, half: float = 0.01) -> messages.Estimate:
    return messages.Estimate(value=value, low=value - half, high=value + half)


def gain(slug: str) -> messages.Gain:
    """North gains 0.05, south nothing that could be told, east loses."""
    shift = {"north": 0.05, "south": 0.004, "east": -0.03}[slug]
    local = 0.7 + PLACES[slug] / 1000
    return messages.Gain(
        rows=ROWS, local=messages.ModelFigures(auc=estimate(local), loss=0.5),
        federated=messages.ModelFigures(auc=estimate(local + shift), loss=0.45), federated_gain=estimate(shift),
    )


def appraisal(bank: TellingBank, run: Any, **changes: Any) -> messages.Appraisal:
    groups = [messages.GroupCounts(group="b", holdout=CENTRE), messages.GroupCounts(group=f"only {bank.slug}", holdout=TINY)]
    training = messages.SplitCounts(rows=bank.rows, loss_sum=50.0, bins=[(300, bank.rows - 30, 10), (700, 10, 10)])
    return messages.Appraisal(**{
        "run": str(run.pk), "manifest_digest": run.manifest_digest, "institution": bank.slug, "number": run.selected.number,
        "version_digest": run.selected.digest, "training": training, "segment": "region", "groups": groups, "gain": gain(bank.slug),
        **changes,
    })  # fmt: skip


@pytest.fixture
def appraised(north, south, east, admin) -> Federation:
    """A finished run whose plan names a segment and asks for gains; nobody has appraised its result yet."""
    banks = [north, south, east]
    document = plan_document([b.slug for b in banks], schedule={"rounds": 2}) | {"evaluation": {"segment": "region", "gains": True}}
    plan = parse_plan(document)
    project = services.create_project(
        slug="retail", name="Retail credit", purpose="credit", participants=[b.institution for b in banks], user=admin
    )
    frozen = services.freeze_plan(project=project, plan=plan, user=admin)
    run = services.propose_run(plan=frozen, user=admin)
    federation = Federation(run, [TellingBank(bank, plan, 100 * (i + 1)) for i, bank in enumerate(banks)])
    federation.begin()
    federation.finish()
    return federation


def all_speak(federation: Federation) -> None:
    for bank in federation.banks:
        order = bank.work()
        assert order["kind"] == "collect"
        assert bank.post(f"runs/{federation.run.pk}/appraisals", appraisal(bank, federation.run)).status_code == 200
        assert bank.collect(order).status_code == 200


def address(federation: Federation) -> str:
    return reverse("rounds:version", args=[federation.run.pk, federation.run.selected.number])


def test_an_appraisal_is_taken_once_and_is_on_the_ledger(appraised) -> None:
    bank, run = appraised.banks[0], appraised.run
    first = bank.post(f"runs/{run.pk}/appraisals", appraisal(bank, run))
    assert first.json()["receipt"]["document"]["subject"] == "appraisal"
    assert bank.post(f"runs/{run.pk}/appraisals", appraisal(bank, run)).json()["receipt"] == first.json()["receipt"]
    other = bank.post(f"runs/{run.pk}/appraisals", appraisal(bank, run, gain=None))
    assert (other.status_code, other.json()["code"]) == (409, "illegal_move")
    assert Appraisal.objects.count() == Entry.objects.filter(kind="result_appraised").count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version_digest": "f" * 64}, "base_mismatch"),
        ({"manifest_digest": "f" * 64}, "manifest_mismatch"),
        ({"segment": "religion"}, "counts_invalid"),
        ({"training": TINY}, "counts_invalid"),
        ({"groups": [messages.GroupCounts(group="a", holdout=CENTRE)] * 2}, "counts_invalid"),
        ({"groups": [messages.GroupCounts(group=name, holdout=CENTRE) for name in "abc"]}, "counts_invalid"),
        ({"gain": gain("north").model_copy(update={"rows": 5})}, "counts_invalid"),
    ],
)
def test_what_does_not_fit_the_declaration_is_refused(changes, code, appraised) -> None:
    bank, run = appraised.banks[0], appraised.run
    answer = bank.post(f"runs/{run.pk}/appraisals", appraisal(bank, run, **changes))
    assert answer.json()["code"] == code
    assert not Appraisal.objects.exists()


def test_a_run_under_way_is_not_appraised(running) -> None:
    bank, run = running.banks[0], running.run
    run.selected = run.last_version
    assert bank.post(f"runs/{run.pk}/appraisals", appraisal(bank, run)).json()["code"] == "illegal_move"


def test_totals_wait_until_every_bank_holds_the_result(appraised, admin) -> None:
    run, version = appraised.run, appraised.run.selected
    for bank in appraised.banks:
        bank.post(f"runs/{run.pk}/appraisals", appraisal(bank, run))
    early = appraisals_of(version, audience_of(admin))
    assert (early.waiting, early.training, early.groups[""], early.mean_gain) == (3, None, [], None)
    for bank in appraised.banks:
        bank.collect(bank.work())
    found = appraisals_of(version, audience_of(admin))
    assert found.training.rows == 600
    assert found.mean_gain == pytest.approx((0.05 + 0.004 - 0.03) / 3)
    assert found.gaining == (1, 3)


def test_a_group_that_few_banks_have_is_hidden_among_the_others(appraised, admin, north) -> None:
    all_speak(appraised)
    found = appraisals_of(appraised.run.selected, audience_of(admin))
    assert [(group.name, group.tally.rows, group.banks) for group in found.groups[""]] == [("b", 120, 3), ("", 51, 3)]
    own = appraisals_of(appraised.run.selected, audience_of(north.operator))
    assert set(own.groups) == {"", "north"}
    assert [group.name for group in own.groups["north"]] == ["b", "only north"]


def test_an_operator_reads_the_own_gain_and_the_average(appraised, north, admin) -> None:
    all_speak(appraised)
    page = north.browser().get(address(appraised)).content.decode()
    assert "0.7000" in page
    assert "0.7010" not in page
    assert "0.7040" not in page
    assert "1 of 3 banks gain" in page
    assert "only south" not in page
    everything = browser(admin).get(address(appraised))
    assert [bank.verdict for bank in everything.context["appraisals"].gains] == ["loses", "gains", "even"]
    for word in ("No difference shown", "Better alone", "Gains"):
        assert word in everything.content.decode()


def test_stability_is_told_against_what_was_trained_on(appraised, admin) -> None:
    all_speak(appraised)
    found = browser(admin).get(address(appraised)).context["stability"]
    assert set(found) == {"", "north", "south", "east"}
    assert all(value > 0 for value in found.values())


def test_groups_are_compared_at_the_chosen_cut(appraised, admin) -> None:
    all_speak(appraised)
    lines = browser(admin).get(address(appraised) + "?by=cut&cut=50").context["groups"]
    assert [line.group.name for line in lines] == ["b", ""]
    assert lines[0].confusion.flagged == 3 * 15
    assert lines[0].ratio == 1.0
    assert lines[1].ratio == 0.0


def test_contributions_share_the_way_and_follow_weight_norm_and_direction(appraised) -> None:
    found = contributions(appraised.run.selected)
    assert sum(found.values()) == pytest.approx(1)
    rows = Update.objects.filter(into__run=appraised.run, weight__isnull=False, into__number__lte=appraised.run.selected.number)
    parts = {}
    for update in rows.select_related("participation"):
        pk = update.participation.institution_id
        parts[pk] = parts.get(pk, 0.0) + update.weight * update.norm * update.cosine
    assert found == pytest.approx({pk: value / sum(parts.values()) for pk, value in parts.items()})


def test_other_versions_say_nothing_of_gains(appraised, admin) -> None:
    all_speak(appraised)
    other = appraised.run.versions.exclude(pk=appraised.run.selected_id).last()
    page = browser(admin).get(reverse("rounds:version", args=[appraised.run.pk, other.number])).content.decode()
    assert 'id="gains"' not in page


def test_file_and_card_say_the_same_to_the_same_readers(appraised, north, auditor) -> None:
    all_speak(appraised)
    args = [appraised.run.pk, appraised.run.selected.number]
    said = north.browser().get(reverse("rounds:evaluation", args=args)).json()
    assert [bank["institution"] for bank in said["gains"]] == ["north"]
    assert said["mean_gain"] == pytest.approx((0.05 + 0.004 - 0.03) / 3)
    assert [group["group"] for group in said["holders"][0]["groups"]] == ["b", None]
    card = browser(auditor).get(reverse("rounds:card", args=args)).content.decode()
    for text in ("What banks gain", "better alone", "no difference shown", "Groups by region", "all others"):
        assert text in card
    own = north.browser().get(reverse("rounds:card", args=args)).content.decode()
    assert "better alone" not in own
