"""The strict Content-Security-Policy holds because no page needs it loosened."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.urls import reverse

from tests.cast import browser

pytestmark = pytest.mark.django_db


class Offences(HTMLParser):
    """Whatever the policy would block: inline scripts, handlers and styles, and anything from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [f"<{tag} {name}>" for name in given if name == "style" or name.startswith(("on", "hx-on"))]
        if tag == "script" and "src" not in given and given.get("type") != "application/json":
            self.found.append("inline <script>")
        if tag == "style":
            self.found.append("<style>")
        for name in ("src", "href", "action"):
            value = given.get(name) or ""
            if value.startswith(("http:", "https:", "//", "javascript:")):
                self.found.append(f"<{tag} {name}={value[:40]}>")


def addresses(federation, role: str) -> list[str]:
    run, plan = federation.run, federation.run.plan
    named = ["home", "search", "projects", "runs", "privacy"] + {
        "admin": ["project-new", "history", "ledger"],
        "auditor": ["history", "ledger"],
        "operator": ["receipts"],
    }[role]
    pages = [reverse(f"rounds:{name}") for name in named]
    pages += [
        reverse("rounds:run", args=[run.pk]),
        reverse("rounds:run-privacy", args=[run.pk]),
        reverse("rounds:round", args=[run.pk, 1]),
        reverse("rounds:version", args=[run.pk, 1]),
    ]
    pages += [reverse("rounds:project", args=[plan.project.slug]), reverse("rounds:plan", args=[plan.hash]), "/search/?q=run+1"]
    if role != "operator":
        pages += [reverse("rounds:chain", args=[run.chain]), reverse("rounds:entry", args=[run.chain, 1])]
    if role == "admin":
        pages.append(reverse("rounds:plan-new", args=[plan.project.slug]))
    return pages


@pytest.mark.parametrize("role", ["admin", "auditor", "operator"])
def test_no_page_needs_an_inline_script_or_style(role, running, admin, auditor, north) -> None:
    user = {"admin": admin, "auditor": auditor, "operator": north.operator}[role]
    client = browser(user)
    for page in addresses(running, role):
        response = client.get(page)
        assert response.status_code == 200, page
        offences = Offences()
        offences.feed(response.content.decode())
        assert offences.found == [], page


def test_the_policy_is_sent_and_allows_no_unsafe_word(admin) -> None:
    policy = browser(admin).get("/")["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_every_page_is_drawn_in_both_languages(language, running, admin) -> None:
    client = browser(admin)
    client.cookies["fedportal_language"] = language
    for page in addresses(running, "admin"):
        response = client.get(page)
        assert response.status_code == 200, page
        assert f'<html lang="{language}"' in response.content.decode()
