"""What people find: empty pages say why, lists filter and sort by the URL, actions need a reason, downloads are exports."""

from __future__ import annotations

import json

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.urls import reverse

from audit import guard
from audit.models import Chain, Entry
from rounds.exports import downloads
from rounds.models import Run
from tests.cast import browser
from tests.rounds.scripted import streamed

pytestmark = pytest.mark.django_db
EMPTY_PAGES = ["rounds:home", "rounds:projects", "rounds:runs", "rounds:history", "rounds:search"]


@pytest.mark.parametrize("name", EMPTY_PAGES)
def test_an_empty_page_says_why_and_what_next(name, admin) -> None:
    page = browser(admin).get(reverse(name)).content.decode()
    assert 'class="empty"' in page or "Invite the first institution" in page


def test_the_first_step_of_a_new_consortium_is_to_invite_a_bank(admin) -> None:
    assert reverse("institutions:invite") in browser(admin).get("/").content.decode()


def test_home_says_what_needs_the_administrator(federation, admin) -> None:
    page = browser(admin).get("/").content.decode()
    assert "waits for approvals" in page
    assert reverse("rounds:run", args=[federation.run.pk]) in page


def test_home_shows_an_operator_the_plans_that_wait_for_its_word(federation, north) -> None:
    page = north.browser().get("/").content.decode()
    assert "waits for your bank" in page
    federation.banks[0].decide()
    assert "No plan waits for your bank" in north.browser().get("/").content.decode()


def test_filters_live_in_the_url(running, admin) -> None:
    client = browser(admin)
    address = reverse("rounds:run", args=[running.run.pk])
    assert address in client.get("/runs/?state=running&project=retail").content.decode()
    page = client.get("/runs/?state=failed").content.decode()
    assert address not in page
    assert "No run matches" in page
    assert client.get("/runs/?state=nonsense&order=nonsense&page=nonsense").status_code == 200


def test_columns_sort_both_ways(running, admin) -> None:
    client = browser(admin)
    rounds = [row.number for row in client.get("/history/?order=round").context["page"]]
    assert rounds == sorted(rounds)
    assert [row.number for row in client.get("/history/?order=-round").context["page"]] == rounds[::-1]


@pytest.mark.parametrize(("action", "state"), [("pause", "paused"), ("stop", "stopped")])
def test_an_action_needs_a_reason(action, state, running, admin) -> None:
    client, address = browser(admin), reverse("rounds:run-action", args=[running.run.pk, action])
    refused = client.post(address, {"reason": "  "}, follow=True)
    assert "a reason for the ledger" in str(list(get_messages(refused.wsgi_request)) or refused.content.decode())
    running.run.refresh_from_db()
    assert running.run.state == "running"
    client.post(address, {"reason": "the auditor asked"})
    running.run.refresh_from_db()
    assert running.run.state == state
    page = client.get(reverse("rounds:run", args=[running.run.pk])).content.decode()
    assert "the auditor asked" in page


def test_a_bank_is_dropped_and_the_page_says_why(running, admin) -> None:
    address = reverse("rounds:run-action", args=[running.run.pk, "drop"])
    client = browser(admin)
    client.post(address, {"reason": "its link is down", "institution": "east"})
    page = client.get(reverse("rounds:run", args=[running.run.pk])).content.decode()
    assert "its link is down" in page
    assert "Dropped" in page


def test_a_deadline_is_extended(running, admin) -> None:
    before = running.run.rounds.get(state="open").deadline_at
    address = reverse("rounds:run-action", args=[running.run.pk, "extend"])
    browser(admin).post(address, {"reason": "slow link", "seconds": "600"})
    assert (running.run.rounds.get(state="open").deadline_at - before).total_seconds() == 600
    assert browser(admin).post(address, {"reason": "x", "seconds": "-1; drop"}).status_code == 302


def test_unknown_actions_are_not_there(running, admin) -> None:
    assert browser(admin).post(reverse("rounds:run-action", args=[running.run.pk, "explode"]), {"reason": "x"}).status_code == 404


def test_a_plan_is_started_from_its_page(federation, admin) -> None:
    response = browser(admin).post(reverse("rounds:plan-start", args=[federation.run.plan.hash]), follow=True)
    assert Run.objects.count() == 2
    assert response.redirect_chain[0][0] == reverse("rounds:run", args=[Run.objects.latest("created_at").pk])


def test_the_page_of_a_run_that_waits_names_the_banks_and_the_command(federation, admin) -> None:
    federation.banks[0].decide()
    page = browser(admin).get(reverse("rounds:run", args=[federation.run.pk])).content.decode()
    assert "2 banks have not approved the plan yet" in page
    assert f"fedagent plans approve {federation.run.plan.hash}" in page


def test_the_page_of_a_failed_run_says_why_and_what_next(federation, admin) -> None:
    for bank in federation.banks:
        bank.decide("refused", "not for this purpose")
    run = federation.advance()
    assert run.state == "failed"
    page = browser(admin).get(reverse("rounds:run", args=[run.pk])).content.decode()
    assert "not for this purpose" in page
    assert "then start a new run" in page


def test_the_page_of_a_finished_run_leads_to_its_result(finished, admin) -> None:
    run = finished.run
    page = browser(admin).get(reverse("rounds:run", args=[run.pk])).content.decode()
    assert reverse("rounds:version", args=[run.pk, run.selected.number]) in page


def test_downloads_are_the_exports(finished, auditor) -> None:
    client, run = browser(auditor), finished.run
    response = client.get(reverse("rounds:run-history-json", args=[run.pk]))
    assert response["Content-Disposition"] == 'attachment; filename="retail-run-1-history.json"'
    assert json.loads(response.content)["entries"] == json.loads(json.dumps(downloads.history(run)))["entries"]
    assert client.get(reverse("rounds:run-history-csv", args=[run.pk])).content.decode() == downloads.history_csv(run)


def test_the_weights_of_a_version_are_the_bytes_of_its_digest(finished, north) -> None:
    version = finished.run.selected
    response = north.browser().get(reverse("rounds:weights", args=[finished.run.pk, version.number]))
    assert len(streamed(response)) == version.bytes
    assert response["Content-Disposition"].endswith('.safetensors"')


def test_the_rounds_table_is_exported_as_filtered(finished, auditor) -> None:
    response = browser(auditor).get("/history.csv?state=published&order=round")
    lines = b"".join(response.streaming_content).decode().splitlines()
    assert len(lines) == 1 + finished.run.rounds.filter(state="published").count()
    assert lines[0].startswith("project,run,run_id,round")


def test_a_chain_is_verified_by_a_button_and_the_page_remembers_how_far(running, auditor) -> None:
    client, chain = browser(auditor), running.run.chain
    page = client.post(reverse("rounds:verify", args=[chain]), follow=True).content.decode()
    seq = Chain.objects.get(name=chain).seq
    assert f"verified up to entry {seq}" in page
    running.round(seed=4)
    page = client.get("/").content.decode()
    assert f"verified up to entry {seq} of {Chain.objects.get(name=chain).seq}" in page


def test_a_changed_entry_is_found_and_named(running, auditor) -> None:
    guard.remove(connection)
    Entry.objects.filter(chain_id=running.run.chain, seq=3).update(actor="user:somebody@else.example")
    guard.install(connection)
    page = browser(auditor).post(reverse("rounds:verify", args=[running.run.chain]), follow=True).content.decode()
    assert "does not verify" in page
    assert "entry 3" in page


def test_an_entry_shows_its_body_and_its_neighbours(running, auditor) -> None:
    page = browser(auditor).get(reverse("rounds:entry", args=[running.run.chain, 2])).content.decode()
    entry = Entry.objects.get(chain_id=running.run.chain, seq=2)
    assert entry.hash in page
    assert reverse("rounds:entry", args=[running.run.chain, 1]) in page


@pytest.mark.parametrize(
    ("q", "found"), [("run 1", "Retail credit"), ("v1", "v1"), ("retail", "retail"), ("north", "North Bank")]
)
def test_search_finds_by_name_and_number(q, found, running, admin) -> None:
    assert found in browser(admin).get("/search/", {"q": q}).content.decode()


def test_search_finds_only_what_the_reader_may_see(running, outsider) -> None:
    page = browser(outsider.operator).get("/search/", {"q": "retail"}).content.decode()
    assert "Nothing found" in page
    assert "North Bank" not in outsider.browser().get("/search/", {"q": "north"}).content.decode()


def test_a_project_is_created_with_its_banks(north, south, admin) -> None:
    data = {
        "name": "Card fraud",
        "slug": "card-fraud",
        "purpose": "fraud",
        "participants": [north.institution.pk, south.institution.pk],
    }
    client = browser(admin)
    response = client.post(reverse("rounds:project-new"), data, follow=True)
    assert response.redirect_chain[0][0] == reverse("rounds:project", args=["card-fraud"])
    again = client.post(reverse("rounds:project-new"), data)
    assert "Another project has this short name" in again.content.decode()


def test_markup_in_a_name_or_reason_is_shown_as_text(running, admin) -> None:
    evil = '<img src=x onerror="alert(1)">'
    client = browser(admin)
    client.post(reverse("rounds:run-action", args=[running.run.pk, "pause"]), {"reason": evil})
    page = client.get(reverse("rounds:run", args=[running.run.pk])).content.decode()
    assert evil not in page
    assert "&lt;img src=x" in page
