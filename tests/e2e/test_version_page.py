"""A version's page in a browser: every chart is drawn soon after loading, wherever it lies, and a champion is made by hand."""

from __future__ import annotations

from django.urls import reverse
from playwright.sync_api import expect


def test_charts_below_the_fold_are_drawn_without_scrolling(page, running, admin, sign_in) -> None:
    sign_in(admin)
    page.goto(reverse("rounds:version", args=[running.run.pk, 1]))
    expect(page.locator("[data-figure] .main-svg").first).to_be_attached()
    charts = page.locator("[data-figure]").count()
    assert charts >= 6
    expect(page.locator("[data-figure]:has(.main-svg)")).to_have_count(charts)


def test_a_cut_is_chosen_and_kept_in_the_address(page, running, admin, sign_in) -> None:
    sign_in(admin)
    page.goto(reverse("rounds:version", args=[running.run.pk, 1]))
    page.get_by_label("Look at everybody from a probability of").check()
    page.get_by_label("Probability in percent").fill("50")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#cut")).to_contain_text("50.0")
    assert "by=cut" in page.url


def test_a_version_is_registered_and_promoted(page, running, admin, sign_in) -> None:
    sign_in(admin)
    page.goto(reverse("rounds:version", args=[running.run.pk, 1]))
    page.get_by_role("button", name="Register").click()
    page.locator("#move-register-reason").fill("a first look")
    page.locator("#move-register").get_by_role("button", name="Register").click()
    page.get_by_role("button", name="Promote").click()
    page.locator("#move-promote-reason").fill("the best there is")
    page.locator("#move-promote").get_by_role("button", name="Promote").click()
    expect(page.get_by_text("The version is the champion.")).to_be_visible()
    expect(page.locator(".page-title")).to_contain_text("Champion")
