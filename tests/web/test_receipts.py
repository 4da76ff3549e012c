"""What an operator reads in the portal of each thing that left the bank, and what the portal cannot know."""

from __future__ import annotations

import pytest
from django.urls import reverse

from audit.models import Entry
from rounds.models import Receipt
from rounds.selectors.receipts import sent
from tests.cast import browser
from tests.rounds.test_bank_privacy import noised, whole_round  # noqa: F401
from tests.rounds.test_privacy import banks, private  # noqa: F401
from tests.rounds.test_privacy import whole_round as private_round

pytestmark = pytest.mark.django_db


def updates_of(bank) -> list[Receipt]:
    return list(Receipt.objects.filter(institution=bank.institution, subject="update").order_by("at"))


def page_of(client, receipt: Receipt) -> str:
    return " ".join(client.get(reverse("rounds:receipt", args=[receipt.pk])).content.decode().split())


def test_a_private_update_shows_what_it_cost_and_why_its_norms_are_not_here(private, banks, north):  # noqa: F811
    private_round(private, banks)
    private_round(private, banks)
    first, second = (sent([row])[0] for row in updates_of(north))
    assert first.holds
    assert second.holds
    assert [(cost.unit, cost.allowed) for cost in second.costs] == [("record", 2.0)]
    assert 0 < first.costs[0].of_run < second.costs[0].of_run <= 2.0
    assert second.costs[0].of_this == pytest.approx(second.costs[0].of_run - first.costs[0].of_run)
    page = page_of(north.browser(), second.receipt)
    assert "no noise covers them" in page
    assert f"{second.costs[0].of_run:.4f}" in page
    assert second.manifest.update_digest in page
    assert "the same digest" in page
    listed = north.browser().get(reverse("rounds:receipts")).content.decode()
    assert f"ε {second.costs[0].of_run:.3f}" in listed


def test_an_update_under_the_privacy_of_banks_shows_what_the_bank_has_spent(noised, north):  # noqa: F811
    whole_round(noised)
    cost = sent(updates_of(north))[0].costs[0]
    assert (cost.unit, cost.allowed, cost.clip) == ("institution", 8.0, 0.5)
    assert cost.of_this == cost.of_run > 0
    assert "The bank as a whole" in page_of(north.browser(), updates_of(north)[0])


def test_a_plain_update_has_its_plain_size_and_codec(running, north, admin):
    row = sent(updates_of(north))[0]
    assert not row.costs
    page = page_of(browser(admin), row.receipt)
    assert "Nothing is clipped under this plan." in page
    assert "Plain size" in page


def test_an_entry_that_is_not_the_receipts_is_said(running, north):
    receipt = updates_of(north)[0]
    receipt.signed["document"]["entry_hash"] = "0" * 64
    receipt.save()
    assert not sent([receipt])[0].holds
    assert "another digest" in page_of(north.browser(), receipt)
    assert Entry.objects.filter(hash="0" * 64).count() == 0


def test_another_banks_receipt_is_not_there(running, north, south):
    assert south.browser().get(reverse("rounds:receipt", args=[updates_of(north)[0].pk])).status_code == 404


def test_the_list_asks_as_much_for_many_receipts_as_for_few(running, north, django_assert_num_queries):
    rows = list(Receipt.objects.filter(institution=north.institution).select_related("run__plan__project"))
    assert len(rows) > 2
    with django_assert_num_queries(2):
        sent(rows)
