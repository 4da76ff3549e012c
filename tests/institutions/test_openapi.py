"""The API describes itself: every door of agents is in the document, and the page that shows it obeys the strict CSP."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.urls import URLResolver, get_resolver, reverse

from institutions.models import User
from tests.cast import browser


@pytest.fixture
def document(auditor: User) -> dict:  # type: ignore[type-arg]
    return browser(auditor).get(reverse("api-schema"), headers={"Accept": "application/vnd.oai.openapi+json"}).json()


def doors() -> set[str]:
    """Every address below /api/v1/, as OpenAPI writes it."""
    found = set()
    for item in get_resolver(settings.ROOT_URLCONF).url_patterns:
        if isinstance(item, URLResolver) and str(item.pattern) == "api/v1/":
            found |= {"/api/v1/" + re.sub(r"<\w+:(\w+)>", r"{\1}", str(door.pattern)) for door in item.url_patterns}
    return found


def test_every_door_is_described(document: dict) -> None:  # type: ignore[type-arg]
    assert set(document["paths"]) == doors()
    assert document["openapi"].startswith("3.1")


def test_every_reference_of_the_document_leads_somewhere(document: dict) -> None:  # type: ignore[type-arg]
    named = set(re.findall(r"#/components/schemas/([\w.-]+)", str(document)))
    assert named <= set(document["components"]["schemas"])


def test_every_operation_can_be_refused_in_one_shape(document: dict) -> None:  # type: ignore[type-arg]
    for path in document["paths"].values():
        for operation in path.values():
            assert "Problem" in str(operation["responses"]["4XX"])


def test_the_page_that_shows_it_has_no_inline_script_or_style(auditor: User) -> None:
    text = browser(auditor).get(reverse("api-docs")).content.decode()
    assert "swagger-ui" in text
    assert not re.search(r"<style|\sstyle=|<script>", text)
