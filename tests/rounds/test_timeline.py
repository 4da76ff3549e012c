"""A round's timeline accounts for all of its duration."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rounds.models import Participation, Round
from rounds.selectors.timeline import slowest, timeline


def test_the_rounds_own_spans_add_up_to_its_duration(running):
    running.round()
    round_ = Round.objects.get(number=1)
    own = [span for span in timeline(round_) if not span.slug]
    assert [span.stage for span in own] == ["collecting", "aggregating"]
    assert sum(span.seconds for span in own) == pytest.approx((round_.published_at - round_.opened_at).total_seconds())


def test_a_banks_spans_follow_what_its_agent_said(running):
    running.round()
    round_ = Round.objects.get(number=1)
    opened = round_.opened_at
    Participation.objects.filter(round=round_, institution__slug="north").update(
        pulled_at=opened + timedelta(seconds=1), training_at=opened + timedelta(seconds=3), uploading_at=None,
        received_at=opened + timedelta(seconds=9),
    )
    north = [span for span in timeline(round_) if span.slug == "north"]
    assert [(span.stage, span.start_s, span.end_s) for span in north] == [
        ("waiting", 0, 1), ("fetching", 1, 3), ("training", 3, 9),
    ]
    assert slowest(timeline(round_)).slug == "north"


def test_a_bank_that_is_waited_for_has_an_open_span(running):
    running.banks[0].train(running.run)
    round_ = Round.objects.get(number=1)
    spans = timeline(round_, moment=round_.opened_at + timedelta(seconds=30))
    waited_for = {span.slug: span.end_s for span in spans if span.is_open}
    assert waited_for == {"": 30, "east": 30, "south": 30}
