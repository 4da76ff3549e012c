"""Writing a plan in a browser: the form answers while one types, and nothing that was typed is lost."""

from __future__ import annotations

import re

import yaml
from playwright.sync_api import expect

from tests.rounds.scripted import plan_document


def test_a_pasted_draft_fills_the_form_and_is_frozen(page, federation, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/projects/retail/plans/new/")
    page.get_by_role("button", name="Paste YAML").click()
    draft = plan_document(["east", "north", "south"], training={"epochs": 3})
    page.get_by_label("Plan as YAML").fill(yaml.safe_dump(draft))
    page.get_by_role("button", name="Fill the form").click()
    expect(page.get_by_label("Epochs")).to_have_value("3")
    expect(page.locator("#plan-side")).to_contain_text("Each bank trains 3 passes")
    page.get_by_label("Title").fill("Three passes")
    page.get_by_role("button", name="Freeze the plan").click()
    expect(page.locator("h1")).to_have_text("Three passes")
    expect(page.locator("code.digest").first).to_have_text(re.compile(r"^[0-9a-f]{64}$"))


def test_a_wrong_value_is_marked_while_one_goes_on_typing(page, federation, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/projects/retail/plans/new/")
    page.get_by_label("Batch size").fill("none")
    page.get_by_label("Seed").click()
    expect(page.get_by_label("Batch size")).to_have_class(re.compile("is-invalid"))
    expect(page.get_by_label("Batch size")).to_have_value("none")
    expect(page.get_by_label("Seed")).to_be_focused()
    expect(page.get_by_role("button", name="Freeze the plan")).to_be_disabled()
    page.get_by_label("Batch size").fill("32")
    page.get_by_label("Seed").click()
    expect(page.get_by_role("button", name="Freeze the plan")).to_be_enabled()


def test_features_are_added_and_removed(page, federation, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/projects/retail/plans/new/")
    page.get_by_role("button", name="Add a feature").click()
    page.locator("#features tr").last.get_by_label("Column").fill("age")
    page.get_by_label("Seed").click()
    expect(page.locator("#section-features")).to_contain_text("3 features")
    page.locator("#features tr").first.get_by_role("button", name="Remove").click()
    expect(page.locator("#section-features")).to_contain_text("2 features")


def test_what_matters_appears_when_it_matters(page, federation, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/projects/retail/plans/new/")
    page.get_by_label("Family").select_option("mlp")
    expect(page.get_by_label("Hidden layers")).to_be_visible()
    page.get_by_label("Family").select_option("logistic")
    expect(page.get_by_label("Hidden layers")).to_have_count(0)


def test_the_menu_of_strategies_says_when_to_choose_one_and_what_does_not_go_together(page, federation, admin, sign_in) -> None:
    sign_in(admin)
    page.goto("/projects/retail/plans/new/")
    page.locator("#section-strategy summary").click()
    strategy = page.get_by_label("Strategy", exact=True)
    strategy.select_option("fedprox")
    expect(page.locator("#section-strategy")).to_contain_text("When banks differ much")
    expect(page.get_by_label("Proximal term mu")).to_have_attribute("placeholder", "0.01")
    strategy.select_option("krum")
    expect(page.locator("#section-strategy .invalid-feedback")).to_contain_text("krum needs at least 5 banks")
    expect(page.get_by_role("button", name="Freeze the plan")).to_be_disabled()
    page.get_by_label("Hostile banks assumed").fill("0")
    page.get_by_label("Seed").focus()
    expect(page.get_by_role("button", name="Freeze the plan")).to_be_enabled()
