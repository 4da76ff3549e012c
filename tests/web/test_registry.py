"""The registry: one champion a project, moves with a reason on the ledger, the past on any day, and a download with its papers."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile

import pytest
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils import timezone

from audit.models import Entry
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.errors import IllegalMove, Malformed, NotFound
from rounds import services
from rounds.lifecycle import STATUS_MOVES, Status, StatusEvent, next_status
from rounds.models import ModelVersion, Registration, Reign
from rounds.selectors.registry import champion_of, champions_on
from rounds.selectors.scope import audience_of
from tests.cast import browser
from tests.rounds.scripted import streamed

pytestmark = pytest.mark.django_db


@pytest.fixture
def versions(finished, admin) -> list[ModelVersion]:
    """The run's result and two others, all candidates."""
    chosen = finished.run.selected
    others = list(finished.run.versions.exclude(pk=chosen.pk).filter(number__gt=0)[:2])
    for version in others:
        services.register_version(version=version, user=admin, reason="worth a look")
    return [chosen, *others]


def statuses(versions) -> list[str]:
    return [Registration.objects.get(version=version).status for version in versions]


def promote(version, admin, instead_of=None, reason="better KS") -> Reign:
    return services.promote_version(version=version, user=admin, reason=reason, instead_of=instead_of)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("event", StatusEvent)
def test_a_status_moves_by_the_table_or_not_at_all(status, event) -> None:
    if (status, event) in STATUS_MOVES:
        assert next_status(status, event) == STATUS_MOVES[status, event]
    else:
        with pytest.raises(IllegalMove, match=f"{event} in status {status}"):
            next_status(status, event)


def test_what_a_run_chose_is_a_candidate(finished) -> None:
    assert statuses([finished.run.selected]) == ["candidate"]


def test_promoting_retires_the_champion_before_and_the_ledger_says_why(versions, admin) -> None:
    first, second, _ = versions
    promote(first, admin)
    promote(second, admin, instead_of=first, reason="calibrated better")
    assert statuses([first, second]) == ["retired", "champion"]
    entry = Entry.objects.filter(chain_id="project/retail", kind="version_promoted").latest("seq")
    assert (entry.body["digest"], entry.body["reason"]) == (second.digest, "calibrated better")
    assert entry.body["before"]["digest"] == first.digest
    assert entry.actor == f"user:{admin.email}"


def test_a_promotion_needs_a_reason_and_the_champion_that_was_seen(versions, admin) -> None:
    first, second, third = versions
    with pytest.raises(Malformed):
        promote(first, admin, reason="  ")
    promote(first, admin)
    with pytest.raises(IllegalMove, match="somebody was first"):
        promote(second, admin, instead_of=None)
    with pytest.raises(IllegalMove, match="somebody was first"):
        promote(second, admin, instead_of=third)
    assert statuses(versions) == ["champion", "candidate", "candidate"]
    assert Reign.objects.count() == 1


def test_only_a_candidate_is_promoted(versions, admin, finished) -> None:
    first, second, _ = versions
    services.retire_version(version=second, user=admin, reason="drifts")
    with pytest.raises(IllegalMove, match="promote from candidate"):
        promote(second, admin)
    with pytest.raises(NotFound):
        promote(finished.run.versions.get(number=0), admin)
    promote(first, admin)
    with pytest.raises(IllegalMove):
        promote(first, admin, instead_of=first)
    services.reinstate_version(version=second, user=admin, reason="it was the data")
    assert promote(second, admin, instead_of=first).version == second


def test_the_database_holds_one_champion_and_one_open_reign(versions, admin) -> None:
    first, second, _ = versions
    promote(first, admin)
    with pytest.raises(IntegrityError), transaction.atomic():
        Registration.objects.filter(version=second).update(status="champion")
    with pytest.raises(IntegrityError), transaction.atomic():
        Reign.objects.create(project=first.run.plan.project, version=second, since_at=timezone.now(), reason="x")


def test_rolling_back_goes_to_the_champion_before_and_then_further_back(versions, admin) -> None:
    first, second, third = versions
    project = first.run.plan.project
    promote(first, admin)
    with pytest.raises(NotFound):
        services.roll_back(project=project, user=admin, reason="x", instead_of=first)
    promote(second, admin, instead_of=first)
    promote(third, admin, instead_of=second)
    reign = services.roll_back(project=project, user=admin, reason="too many alerts", instead_of=third)
    assert (reign.version, reign.is_rollback) == (second, True)
    assert services.roll_back(project=project, user=admin, reason="still", instead_of=second).version == first
    with pytest.raises(NotFound):
        services.roll_back(project=project, user=admin, reason="again", instead_of=first)
    assert statuses(versions) == ["champion", "retired", "retired"]
    assert Entry.objects.filter(kind="champion_rolled_back").count() == 2


def test_a_champion_that_retires_leaves_none(versions, admin) -> None:
    promote(versions[0], admin)
    services.retire_version(version=versions[0], user=admin, reason="the product ends")
    assert champion_of(versions[0].run.plan.project) is None
    assert Reign.objects.get().end_reason == "the product ends"


def test_who_was_champion_on_a_day(versions, admin, north, outsider) -> None:
    first, second, _ = versions
    project, day = first.run.plan.project, dt.date(2026, 3, 10)
    noon = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
    promote(first, admin)
    promote(second, admin, instead_of=first)
    Reign.objects.filter(version=first).update(since_at=noon - dt.timedelta(days=5), until_at=noon)
    Reign.objects.filter(version=second).update(since_at=noon)

    def on(shift: int) -> list[ModelVersion]:
        return [reign.version for reign in champions_on(project, audience_of(admin), day + dt.timedelta(days=shift))]

    assert on(-6) == []
    assert on(-1) == [first]
    assert on(0) == [first, second]
    assert on(1) == [second]
    said = north.get(reverse("api-champion", args=["retail"]) + "?on=2026-03-09").json()
    assert [reign["digest"] for reign in said["champions"]] == [first.digest]
    assert north.get(reverse("api-champion", args=["retail"]) + "?on=yesterday").status_code == 400
    assert outsider.get(reverse("api-champion", args=["retail"])).status_code == 404
    page = north.browser().get(reverse("rounds:registry", args=["retail"]) + "?on=2026-03-09").content.decode()
    assert first.digest[:12] in page


def test_the_browser_moves_a_version_and_tells_of_a_refusal(versions, admin) -> None:
    first, second, _ = versions
    client = browser(admin)
    client.post(reverse("rounds:version-move", args=[first.run_id, first.number, "promote"]), {"reason": "best", "champion": ""})
    assert statuses([first]) == ["champion"]
    late = client.post(
        reverse("rounds:version-move", args=[second.run_id, second.number, "promote"]), {"reason": "x", "champion": ""}, follow=True
    )
    assert "somebody was first" in late.content.decode()
    client.post(
        reverse("rounds:version-move", args=[second.run_id, second.number, "promote"]), {"reason": "x", "champion": first.pk}
    )
    page = client.get(reverse("rounds:registry", args=["retail"]))
    assert page.context["registry"].champion.version == second
    client.post(reverse("rounds:rollback", args=["retail"]), {"reason": "alerts", "champion": second.pk})
    assert statuses([first, second]) == ["champion", "retired"]
    assert client.post(reverse("rounds:version-move", args=[first.run_id, 1, "explode"]), {"reason": "x"}).status_code == 404


def test_the_api_moves_a_version(versions, admin, auditor) -> None:
    first, second, _ = versions
    address = reverse("api-version-move", args=[first.run_id, first.number, "promote"])
    assert browser(auditor).post(address, {"reason": "x"}, content_type="application/json").status_code == 403
    said = browser(admin).post(address, {"reason": "best", "instead_of": None}, content_type="application/json")
    assert said.json()["status"] == "champion"
    other = reverse("api-version-move", args=[second.run_id, second.number, "promote"])
    late = browser(admin).post(other, {"reason": "x", "instead_of": None}, content_type="application/json")
    assert (late.status_code, late.json()["code"]) == (409, "illegal_move")
    assert browser(admin).post(other, {"reason": "x", "instead_of": first.digest}, content_type="application/json").status_code == 200
    back = browser(admin).post(reverse("api-rollback", args=["retail"]), {"reason": "alerts"}, content_type="application/json")
    assert back.json()["digest"] == first.digest
    for body in ([], {"reason": 5}, {}):
        assert browser(admin).post(other, json.dumps(body), content_type="application/json").status_code == 400
    read = browser(auditor).get(reverse("api-registry", args=["retail"])).json()
    assert {row["status"] for row in read["versions"]} == {"champion", "retired", "candidate"}
    assert [reign["rollback"] for reign in read["champions"]] == [True, False, False]


def bundle_of(client, version) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(streamed(client.get(reverse("rounds:bundle", args=[version.run_id, version.number])))))


def test_a_bundle_has_everything_and_its_sums_are_right(versions, admin) -> None:
    promote(versions[0], admin, reason="best | of *all*")
    archive = bundle_of(browser(admin), versions[0])
    sums = dict(line.split("  ")[::-1] for line in archive.read("SHA256SUMS").decode().splitlines())
    assert set(sums) == set(archive.namelist()) - {"SHA256SUMS"}
    assert all(sha256_hex(archive.read(name)) == digest for name, digest in sums.items())
    assert sums["weights.safetensors"] == versions[0].digest
    assert sha256_hex(archive.read("plan.json")) == versions[0].run.plan.hash
    assert sums["preprocessing.json"] == versions[0].run.manifest["document"]["preprocessing_digest"]
    card = archive.read("MODEL_CARD.md").decode()
    assert versions[0].digest in card
    assert "best \\| of \\*all\\*" in card
    assert "No differential privacy" in card
    assert "no segment" in card
    assert bundle_of(browser(admin), versions[0]).read("model_card.html") == archive.read("model_card.html")


def test_an_operators_bundle_has_no_other_banks_figures(versions, north) -> None:
    archive = bundle_of(north.browser(), versions[0])
    holders = json.loads(archive.read("evaluation.json"))["holders"]
    assert [holder["institution"] for holder in holders] == [None, "north"]
    assert "North Bank" in archive.read("MODEL_CARD.md").decode()
    assert "South Bank" not in archive.read("MODEL_CARD.md").decode()


def test_the_model_card_is_a_page(versions, north) -> None:
    page = north.browser().get(reverse("rounds:card", args=[versions[0].run_id, versions[0].number]))
    assert "What is not known" in page.content.decode()


def test_an_empty_registry_says_what_comes(federation, admin) -> None:
    page = browser(admin).get(reverse("rounds:registry", args=["retail"])).content.decode()
    assert "No version yet" in page
    assert "No champion" in page
