"""The whole road with real parts: invite, enrol, approve, plan, train, watch, download, verify."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.road import PASSWORD, Road, enrol_command

BANKS = {"north": "North Bank", "south": "South Bank", "east": "East Bank"}
PATIENCE_MS = 120_000


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    road = Road(tmp_path)
    try:
        road.open()
        yield road
    finally:
        road.close()


def sign_in(page: Page, road: Road, email: str) -> None:
    page.goto(f"{road.url}/accounts/login/")
    page.locator("input[name=login]").fill(email)
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_have_text("Home")


def invite_and_enrol(page: Page, road: Road, slug: str, seed: int) -> Path:
    """The administrator invites a bank and hands over a code; the bank's agent makes its key and introduces itself."""
    page.goto(f"{road.url}/institutions/invite")
    page.get_by_label("Name", exact=True).fill(BANKS[slug])
    page.get_by_label("Short name").fill(slug)
    page.get_by_role("button", name="Invite", exact=True).click()
    page.goto(f"{road.url}/institutions/{slug}/code")
    page.get_by_role("button", name="Issue a code").click()
    expect(page.get_by_text("The code, shown this once")).to_be_visible()
    home = road.bank(slug, seed)
    done = road.fedagent(*enrol_command(page.locator("main").inner_text()), "--home", str(home), "--name", f"{slug}-agent")
    assert done.returncode == 0, done.stderr
    return home


def approve(page: Page, road: Road, home: Path) -> None:
    """The administrator types the fingerprint that the bank reads out."""
    page.goto(road.url)
    page.locator(".list-group-item", has_text=BANKS[home.name]).get_by_role("link", name="Compare fingerprints").click()
    page.get_by_label("fingerprint", exact=False).last.fill(json.loads((home / "agent.json").read_text())["key_fingerprint"])
    page.get_by_role("button", name="They are the same: approve").click()
    expect(page.get_by_text("Approved").first).to_be_visible()


def create_project(page: Page, road: Road) -> None:
    page.goto(f"{road.url}/projects/new/")
    page.get_by_label("Name", exact=True).fill("Retail credit")
    page.get_by_label("Short name").fill("retail")
    for name in BANKS.values():
        page.get_by_label(name).check()
    page.get_by_role("button", name="Create the project").click()
    expect(page.locator("h1")).to_have_text("Retail credit")


def freeze_plan(page: Page, road: Road) -> None:
    """A draft is made from a table, pasted, changed by hand and frozen."""
    draft = road.manage("draft_plan", "--data", str(road.folder / "north.csv"), "--label", "bad")
    page.get_by_role("link", name="New plan").first.click()
    page.get_by_label("Plan as YAML").fill(draft)
    page.get_by_role("button", name="Fill the form").click()
    page.locator("#section-basics").wait_for()
    for slug in BANKS:
        page.locator(f'input[name=participants][value="{slug}"]').check()
    page.get_by_label("Family").select_option("logistic")
    page.get_by_label("Rounds", exact=True).fill("4")
    page.get_by_label("Seed").click()
    expect(page.locator("#plan-side")).to_contain_text("4 rounds of fedavg; each needs 3 of 3 banks")
    page.get_by_label("Title").fill("Four rounds")
    page.get_by_role("button", name="Freeze the plan").click()
    expect(page.locator("h1")).to_have_text("Four rounds")


def watch(page: Page) -> None:
    """The run begins by itself and its page moves to the end without a reload."""
    page.get_by_role("button", name="Start a run").click()
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#grid-card")).to_contain_text("Banks in round", timeout=PATIENCE_MS)
    expect(page.locator("#grid-card")).to_contain_text("Accepted", timeout=PATIENCE_MS)
    expect(page.locator("#facts")).to_contain_text("Finished", timeout=PATIENCE_MS)
    expect(page.locator("#notice")).to_contain_text("3 of 3 banks have fetched and verified it", timeout=PATIENCE_MS)


def become_auditor(page: Page, road: Road) -> None:
    page.goto(f"{road.url}/people/invite")
    page.get_by_label("E-mail").fill("auditor@example.org")
    page.get_by_label("Role").select_option("auditor")
    page.get_by_role("button", name="Invite", exact=True).click()
    link = page.locator(".command code").first.inner_text()
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Sign out").click()
    page.goto(link)
    page.locator("input[name=name]").fill("Oskar")
    for box in page.locator("input[type=password]").all():
        box.fill(PASSWORD)
    page.get_by_role("button", name="Accept and sign in").click()
    expect(page.locator("h1")).to_have_text("Home")


def download_history(page: Page, road: Road) -> Path:
    page.get_by_role("link", name="Retail credit, 1", exact=True).first.click()
    page.get_by_role("button", name="History").click()
    expect(page.locator(".history-menu .command")).to_contain_text("fedagent verify")
    with page.expect_download() as started:
        page.get_by_text("As JSON, verifiable offline").click()
    path = road.folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def altered(path: Path) -> Path:
    """A copy in which one digit of one entry is another."""
    history = json.loads(path.read_text())
    entry = next(row["entry"] for row in history["entries"] if row["entry"]["kind"] == "update_accepted")
    entry["body"]["rows"] += 1
    copy = path.with_name("altered.json")
    copy.write_text(json.dumps(history))
    return copy


def test_from_the_first_invitation_to_a_verified_history(page: Page, road: Road) -> None:
    sign_in(page, road, "ada@example.org")
    homes = [invite_and_enrol(page, road, slug, seed) for seed, slug in enumerate(BANKS)]
    for home in homes:
        approve(page, road, home)
        road.run_agent(home)
    create_project(page, road)
    freeze_plan(page, road)
    watch(page)
    become_auditor(page, road)
    path = download_history(page, road)
    verified = road.fedagent("verify", str(path))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    refused = road.fedagent("verify", str(altered(path)))
    assert refused.returncode == 1
    assert "ledger_broken" in refused.stdout + refused.stderr
