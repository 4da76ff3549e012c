"""What the pages of institutions show, and what their forms do."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from clientagent.wire.signing import PrivateKey
from institutions import services
from institutions.models import Agent, EnrolmentCode, Institution, User
from institutions.wheel import Wheel, agent_wheel
from tests.cast import Bank, browser, make_pending_agent


@pytest.fixture
def wheel(tmp_path: Path, settings: Settings) -> Wheel:
    """A wheel that was put there by hand."""
    settings.FEDPORTAL_WHEEL_DIR = tmp_path
    path = tmp_path / "fedagent-0.0.1-py3-none-any.whl"
    path.write_bytes(b"a wheel")
    return Wheel(path, hashlib.sha256(b"a wheel").hexdigest())


def test_an_administrator_invites_an_institution(admin: User) -> None:
    response = browser(admin).post(reverse("institutions:invite"), {"name": "Harbour Bank", "slug": "harbour"})
    assert response["Location"] == reverse("institutions:detail", args=["harbour"])
    assert Institution.objects.get().state == Institution.State.INVITED


def test_a_taken_short_name_is_said_on_the_form(admin: User, north: Bank) -> None:
    page = browser(admin).post(reverse("institutions:invite"), {"name": "Again", "slug": "north"})
    assert "Choose another short name" in page.content.decode()


def test_a_code_is_shown_once_with_the_commands_that_install_and_enrol(admin: User, north: Bank, wheel: Wheel) -> None:
    client, address = browser(admin), reverse("institutions:code", args=["north"])
    page = client.post(address)
    code, text = page.context["issued"].code, page.content.decode()
    assert f"fedagent enrol http://testserver --code {code}" in text
    assert f"#sha256={wheel.sha256}" in text
    assert page["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    assert code not in client.get(address).content.decode()
    assert EnrolmentCode.objects.filter(used_at=None).count() == 1


def test_the_wheel_is_served_to_anybody_by_its_name(db: None, wheel: Wheel) -> None:
    response = Client().get(reverse("agent-wheel", args=[wheel.name]))
    assert response.content == b"a wheel"
    assert Client().get(reverse("agent-wheel", args=["portal.pem"])).status_code == 404
    assert Client().get("/agent/..%2Fkeys%2Fportal.pem").status_code == 404


def test_the_wheel_is_built_from_the_agents_source_once(tmp_path: Path, settings: Settings) -> None:
    settings.FEDPORTAL_WHEEL_DIR = tmp_path
    first = agent_wheel()
    assert first is not None
    made = first.path.stat().st_mtime_ns
    assert agent_wheel() == first
    assert first.path.stat().st_mtime_ns == made
    names = zipfile.ZipFile(first.path).namelist()
    assert "clientagent/wire/plan/document.py" in names
    assert not [name for name in names if name.startswith(("rounds", "institutions", "fedportal"))]


def test_approving_needs_the_fingerprint_that_the_bank_reads(admin: User, north: Bank) -> None:
    agent, key = make_pending_agent(north.institution, by=admin)
    client, address = browser(admin), reverse("institutions:agent", args=[agent.pk])
    for wrong in ("", key.fingerprint[:15], PrivateKey.generate().fingerprint, "0" * 16):
        assert client.post(address, {"fingerprint": wrong}).status_code == 200
        assert Agent.objects.get(pk=agent.pk).state == Agent.State.PENDING
    spoken = re.sub("(....)", r"\1 ", key.fingerprint[:32].upper())
    assert client.post(address, {"fingerprint": spoken}).status_code == 302
    assert Agent.objects.get(pk=agent.pk).state == Agent.State.APPROVED


def test_an_operator_sees_the_fingerprint_but_cannot_approve_the_own_agent(admin: User, north: Bank) -> None:
    agent, key = make_pending_agent(north.institution, by=admin)
    address = reverse("institutions:agent", args=[agent.pk])
    assert key.fingerprint in north.browser().get(address).content.decode()
    assert north.browser().post(address, {"fingerprint": key.fingerprint}).status_code == 403
    assert Agent.objects.get(pk=agent.pk).state == Agent.State.PENDING


def test_suspending_asks_for_a_reason(admin: User, north: Bank) -> None:
    client, address = browser(admin), reverse("institutions:suspend", args=["north"])
    assert client.post(address, {"reason": " "}).status_code == 200
    assert Institution.objects.get().state == Institution.State.ACTIVE
    client.post(address, {"reason": "an incident"})
    assert Institution.objects.get().state == Institution.State.SUSPENDED
    assert "an incident" in client.get(reverse("institutions:detail", args=["north"])).content.decode()


def test_an_operator_revokes_the_own_key_at_once(north: Bank) -> None:
    address = reverse("institutions:revoke", args=[north.key.fingerprint])
    assert north.browser().post(address, {"reason": "laptop stolen"}).status_code == 302
    assert Agent.objects.get().state == Agent.State.REVOKED


def test_an_operators_list_holds_the_own_bank_only(north: Bank, south: Bank) -> None:
    text = north.browser().get(reverse("institutions:list")).content.decode()
    assert "North Bank" in text
    assert "South Bank" not in text


def test_the_list_filters_and_sorts_by_its_address(admin: User, north: Bank, south: Bank) -> None:
    services.suspend_institution(institution=south.institution, by=admin, reason="x")
    client = browser(admin)

    def shown(query: str) -> list[str]:
        return [row.slug for row in client.get(f"/institutions/?{query}").context["page"]]

    assert shown("state=suspended") == ["south"]
    assert shown("order=-name&q=ban") == ["south", "north"]
    assert shown("order=password&state=%00&q=%00&page=x") == ["north", "south"]
    people = client.get("/people/?role=operator&q=south").context["page"]
    assert [member.user.email for member in people] == ["operator@south.example"]


def test_an_empty_consortium_says_what_to_do(admin: User) -> None:
    assert "No institution yet" in browser(admin).get(reverse("institutions:list")).content.decode()


def test_a_page_of_an_institution_costs_a_bounded_number_of_queries(
    admin: User, north: Bank, django_assert_max_num_queries  # type: ignore[no-untyped-def]
) -> None:
    for _ in range(3):
        make_pending_agent(north.institution, by=admin)
    client = browser(admin)
    with django_assert_max_num_queries(12):
        client.get(reverse("institutions:detail", args=["north"]))


def test_every_page_forbids_inline_scripts_and_styles(admin: User, north: Bank) -> None:
    page = browser(admin).get(reverse("institutions:detail", args=["north"]))
    policy = page["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = page.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert not re.findall(r"<script(?![^>]*\b(?:src|type=.application/json))[^>]*>", text)


def test_the_language_switches_on_every_page(admin: User) -> None:
    client = browser(admin)
    client.post(reverse("set_language"), {"language": "zh-hans", "next": "/institutions/"})
    assert 'lang="zh-hans"' in client.get("/institutions/").content.decode()


def test_names_of_banks_are_escaped(admin: User) -> None:
    services.invite_institution(slug="evil", name="<script>alert(1)</script>", by=admin)
    assert "<script>alert" not in browser(admin).get("/institutions/evil/").content.decode()


