"""The shell in a browser: theme, language, keyboard, phone width, and what screen readers hear."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import expect

NAMES = ["home", "projects", "runs", "history", "ledger", "project-new", "search"]


def addresses(federation) -> list[str]:
    run, plan = federation.run, federation.run.plan
    pages = [reverse(f"rounds:{name}") for name in NAMES]
    pages += [
        reverse("rounds:run", args=[run.pk]),
        reverse("rounds:version", args=[run.pk, 1]),
        reverse("rounds:card", args=[run.pk, 1]),
        reverse("rounds:compare") + f"?v={run.pk}:0&v={run.pk}:1",
        reverse("rounds:registry", args=["retail"]),
        reverse("rounds:round", args=[run.pk, 1]),
    ]
    pages += [
        reverse("rounds:project", args=["retail"]),
        reverse("rounds:plan", args=[plan.hash]),
        reverse("rounds:plan-new", args=["retail"]),
    ]
    return [*pages, reverse("rounds:chain", args=[run.chain]), reverse("rounds:entry", args=[run.chain, 3])]


def test_the_chosen_theme_stays_and_does_not_flash(page, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.add_init_script(
        "document.addEventListener('readystatechange', () => { window.early ??= document.documentElement.dataset.bsTheme; })"
    )
    page.reload()
    assert page.evaluate("window.early") == "dark"


def test_the_language_is_switched_on_every_page(page, running, admin, sign_in) -> None:
    sign_in(admin)
    page.goto(f"/runs/{running.run.pk}/")
    page.locator("[data-bs-toggle=dropdown]").first.click()
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    assert page.url.endswith(f"/runs/{running.run.pk}/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_breaks_the_accessibility_rules(scheme, page, running, admin, sign_in) -> None:
    """axe's rules for WCAG 2 A and AA."""
    sign_in(admin)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    options = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    found = {}
    for address in addresses(running):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        results = Axe().run(page, options=options)
        if results.violations_count:
            found[address] = [
                (item["id"], [node["html"][:160] for node in item["nodes"][:3]]) for item in results.response["violations"]
            ]
    assert found == {}


def test_no_page_is_wider_than_a_phone(page, running, admin, sign_in) -> None:
    sign_in(admin)
    page.set_viewport_size({"width": 390, "height": 844})
    wide = []
    for address in addresses(running):
        page.goto(address)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wide.append(address)
    assert wide == []


def test_the_keyboard_reaches_content_and_search(page, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/runs/")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#search-box")).to_be_focused()


def test_a_phones_navigation_opens(page, admin, sign_in) -> None:
    sign_in(admin)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    expect(page.get_by_role("link", name="Projects")).to_be_hidden()
    page.get_by_role("button", name="Navigation").click()
    page.get_by_role("link", name="Projects").click()
    expect(page.locator("h1")).to_have_text("Projects")


def test_a_missing_page_says_so_and_leads_home(page, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/projects/nothing/")
    expect(page.get_by_text("Nothing is here")).to_be_visible()
    page.get_by_role("link", name="Go home").click()
    expect(page.locator("h1")).to_have_text("Home")
