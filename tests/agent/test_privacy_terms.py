"""What a plan's record_dp means for a bank, and which plans would not keep their promise."""

from __future__ import annotations

import pytest

from clientagent.wire.errors import PlanInvalid
from clientagent.wire.privacy.terms import delta_of, learning_rate, not_covered, record_terms
from tests.agent.given import one_bank_plan
from tests.agent.private import private_plan


def test_terms_follow_from_the_plan_and_the_declared_rows():
    terms = record_terms(private_plan(training__epochs=3), 400)
    assert (terms.steps, terms.updates, terms.expected_batch) == (15, 2, 80)
    assert 0.999 <= terms.epsilon_after(2) <= 1.0
    assert terms.epsilon_after(1) < terms.epsilon_after(2)


def test_statistics_are_part_of_the_budget():
    terms = record_terms(private_plan({"statistics": 0.1, "bounds": {"income": (0.0, 100.0)}}), 400)
    assert 0.09 <= terms.epsilon_after(0) <= 0.1
    assert 0.999 <= terms.epsilon_after(2) <= 1.0
    assert terms.failure == pytest.approx(1e-7), "a tenth of delta, for categories that the plan does not list"


def test_more_banks_rows_never_make_delta_larger_than_a_tenth_of_a_customer():
    record = private_plan().privacy.record_dp
    assert record is not None
    assert delta_of(record, 100) == 1e-6
    assert delta_of(record, 10**7) == 1e-8


def test_async_counts_every_update_that_a_bank_may_send():
    plan = private_plan(schedule__mode="async", schedule__max_updates_per_bank=7)
    assert record_terms(plan, 400).updates == 7


def test_the_automatic_step_size_falls_and_a_chosen_one_is_kept():
    plan = private_plan(schedule__rounds=10)
    assert learning_rate(plan, 1) == 0.05
    assert learning_rate(plan, 6) == pytest.approx(0.025)
    assert learning_rate(private_plan(training__learning_rate=0.3), 2) == 0.3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"strategy__name": "newton"}, "privacy.record_dp"),
        ({"strategy__name": "qfedavg"}, "privacy.record_dp"),
        ({"schedule__select": "best"}, "schedule.select"),
        ({"schedule__patience": 3}, "schedule.patience"),
        ({"training__class_weight": "balanced"}, "training.class_weight"),
        ({"training__epochs": 0}, "training.epochs"),
    ],
)
def test_a_plan_that_could_not_keep_its_promise_is_refused_by_name(changes, field):
    with pytest.raises(PlanInvalid) as refused:
        record_terms(private_plan(**changes), 400)
    assert refused.value.got == field


def test_bounds_of_strangers_are_refused():
    with pytest.raises(PlanInvalid, match="stranger"):
        record_terms(private_plan({"bounds": {"stranger": (0.0, 1.0)}}), 400)
    with pytest.raises(PlanInvalid):
        private_plan({"bounds": {"income": (5.0, 5.0)}})


def test_what_is_not_covered_is_said_in_plain_sentences():
    bare = " ".join(row.sentence for row in not_covered(private_plan()))
    assert "Evaluation counts" in bare
    assert "statistics carry no noise" in bare
    assert "number of rows" in bare
    exposed = " ".join(row.sentence for row in not_covered(private_plan({"statistics": 0.1})))
    assert "without bounds carry no noise: income" in exposed
    covered = " ".join(row.sentence for row in not_covered(private_plan({"statistics": 0.1, "bounds": {"income": (0.0, 100.0)}})))
    assert "without bounds" not in covered
    assert "statistics carry no noise" not in covered
    assert not_covered(one_bank_plan()) == []


def test_a_plan_without_record_dp_has_no_terms():
    with pytest.raises(PlanInvalid):
        record_terms(one_bank_plan(), 400)
