"""The run's page in a browser: it moves by itself, tells the truth about its connection, and travels in time."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from playwright.sync_api import Page, expect

from rounds import live
from rounds.models import Participation


def progress(federation, slug: str, **changes) -> None:
    rows = Participation.objects.filter(round__run=federation.run, round__state="open", institution__slug=slug)
    assert rows.update(**changes) == 1
    ThreadPoolExecutor(1).submit(live.announce, federation.run.pk).result()


def open_run(page: Page, federation, sign_in, user) -> None:
    sign_in(user)
    page.goto(f"/runs/{federation.run.pk}/")
    expect(page.locator("#connection")).to_have_text("Live")


def shown(page: Page) -> list[str]:
    """What the page says, part by part; the clocks aside."""
    without_clocks = """(part) => {
        const copy = part.cloneNode(true);
        copy.querySelectorAll("time").forEach((time) => time.remove());
        return copy.innerHTML;
    }"""
    return [page.locator(f'[data-part="{part}"]').evaluate(without_clocks) for part in ("notice", "ribbon", "grid", "events")]


def test_the_grid_moves_while_banks_work(page, running, admin, sign_in, elsewhere) -> None:
    open_run(page, running, sign_in, admin)
    row = page.locator("#bank-south")
    expect(row).to_contain_text("Waiting")
    progress(running, "south", phase="training", epoch=1, epochs=1, batch=37, batches=100)
    expect(row).to_contain_text("Training")
    expect(row).to_contain_text("batch 37 of 100")
    elsewhere(lambda: running.banks[1].train(running.run, seed=3))
    expect(row).to_contain_text("Received")
    elsewhere(lambda: running.banks[0].train(running.run, seed=4))
    elsewhere(lambda: running.banks[2].train(running.run, seed=5))
    elsewhere(running.advance)
    expect(page.locator("#grid-card")).to_contain_text("Banks in round 4")
    expect(page.locator("#events-card")).to_contain_text("Version 3 published")


def test_charts_are_drawn_and_have_a_table_twin(page, running, admin, sign_in) -> None:
    open_run(page, running, sign_in, admin)
    expect(page.locator("#chart-auc .main-svg").first).to_be_visible()
    expect(page.locator("#chart-auc .scatterlayer .trace")).to_have_count(4)
    page.locator("#chart-card-auc").get_by_role("button", name="Show as a table").click()
    expect(page.locator("#table-auc")).to_contain_text("North Bank")


def test_a_dropped_socket_comes_back_to_what_a_reload_shows(page, running, admin, sign_in, elsewhere) -> None:
    open_run(page, running, sign_in, admin)
    page.evaluate("liveSocket.drop()")
    expect(page.locator("#connection")).to_have_text("Reconnecting")
    elsewhere(lambda: running.banks[1].train(running.run, seed=3))
    expect(page.locator("#connection")).to_have_text("Live")
    expect(page.locator("#bank-south")).to_contain_text("Received")
    before = shown(page)
    page.reload()
    expect(page.locator("#connection")).to_have_text("Live")
    assert shown(page) == before


def test_the_ribbon_travels_in_time_and_the_address_remembers(page, running, admin, sign_in) -> None:
    open_run(page, running, sign_in, admin)
    page.locator('[data-look="1"]').first.click()
    expect(page).to_have_url(re.compile(r"\?round=1$"))
    expect(page.locator("#grid-card")).to_contain_text("Banks in round 1")
    page.reload()
    expect(page.locator("#grid-card")).to_contain_text("Banks in round 1")
    page.get_by_role("link", name="Back to live").click()
    expect(page.locator("#grid-card")).to_contain_text("Banks in round 3")
    page.go_back()
    expect(page.locator("#grid-card")).to_contain_text("Banks in round 1")


def test_the_buttons_follow_the_runs_state(page, running, admin, sign_in) -> None:
    open_run(page, running, sign_in, admin)
    page.get_by_role("button", name="Pause").first.click()
    page.locator("#reason-pause").fill("looking at the figures")
    page.locator("#action-pause").get_by_role("button", name="Pause").click()
    expect(page.locator("#notice")).to_contain_text("looking at the figures")
    expect(page.get_by_role("button", name="Resume").first).to_be_visible()
    expect(page.locator('[data-when="running"]').first).to_be_hidden()


def test_an_operator_sees_its_bank_first_in_colour_and_others_by_phase_only(page, running, north, sign_in) -> None:
    open_run(page, running, sign_in, north.operator)
    progress(running, "south", phase="training", epoch=1, epochs=1, batch=37, batches=100)
    expect(page.locator("#bank-south")).to_contain_text("Training")
    expect(page.locator("#bank-south")).not_to_contain_text("batch 37")
    expect(page.locator("#bank-north")).to_contain_text("your bank")
    expect(page.locator("#chart-auc .scatterlayer .trace")).to_have_count(2)
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)


def test_times_are_in_the_readers_zone_with_utc_on_hover(page, running, admin, sign_in) -> None:
    open_run(page, running, sign_in, admin)
    time = page.locator("#events-card time").first
    expect(time).to_have_attribute("title", re.compile(r"UTC$"))
    expect(time).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))
    assert time.inner_text() != (time.get_attribute("title") or "").split()[1]
