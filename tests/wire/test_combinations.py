"""What cannot be combined is refused with the field and the reason, and what is said in vain is told."""

from __future__ import annotations

import pytest

from clientagent.wire.combinations import conflicts, idle, require_combinable
from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import STRATEGIES, Plan
from clientagent.wire.strategies import ONLY_MEAN, ROBUST
from tests.wire.given import a_plan

FIVE = ["north", "south", "east", "west", "centre"]


def with_strategy(name: str, **changes: object) -> Plan:
    more = {"model__family": "logistic"} if name == "newton" else {}
    return a_plan(participants=FIVE, strategy__name=name, **{**more, **changes})


def fields(plan: Plan) -> set[str]:
    return {conflict.field for conflict in conflicts(plan)}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs_with_five_banks_and_nothing_else_said(name):
    assert conflicts(with_strategy(name)) == []
    require_combinable(with_strategy(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_secure_aggregation_goes_with_the_strategies_that_need_only_the_mean(name):
    found = fields(with_strategy(name, privacy__secure_aggregation={}, schedule__quorum=1.0))
    assert found == (set() if name in ONLY_MEAN else {"strategy.name"})


@pytest.mark.parametrize("name", STRATEGIES)
def test_async_goes_with_strategies_that_bear_updates_from_older_versions(name):
    refused = name in ROBUST or name in ("scaffold", "feddyn", "fednova", "qfedavg", "newton")
    found = fields(with_strategy(name, schedule__mode="async", schedule__buffer=5))
    assert found == ({"schedule.mode"} if refused else set())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"strategy__name": "krum", "participants": FIVE[:4]}, "strategy.byzantine"),
        ({"strategy__name": "krum", "schedule__quorum": 0.8}, "strategy.byzantine"),
        ({"strategy__name": "median", "strategy__byzantine": 3}, "strategy.byzantine"),
        ({"strategy__name": "trimmed_mean", "strategy__trim": 0.1}, "strategy.trim"),
        ({"strategy__name": "fedavg", "strategy__mixing": "nearest"}, "strategy.mixing"),
        ({"strategy__name": "newton"}, "model.family"),
        ({"model": {"family": "ours@" + "0" * 64}}, "model.tensors"),
        ({"model": {"family": "mlp", "tensors": [{"name": "a", "shape": [1, "inputs"]}]}}, "model.tensors"),
        ({"strategy__name": "newton", "model__family": "logistic", "training__class_weight": "focal"}, "training.class_weight"),
        ({"strategy__name": "newton", "model__family": "logistic", "training__weight_decay": 0.1}, "training.weight_decay"),
        ({"strategy__name": "newton", "model__family": "logistic", "compression__codec": "int8"}, "compression.codec"),
        ({"strategy__name": "newton", "model__family": "logistic", "privacy__record_dp": {}}, "privacy.record_dp"),
        ({"strategy__name": "scaffold", "compression__codec": "topk"}, "compression.codec"),
        ({"strategy__name": "scaffold", "privacy__record_dp": {}, "schedule__select": "last"}, "privacy.record_dp"),
        ({"strategy__name": "qfedavg", "privacy__record_dp": {}, "schedule__select": "last"}, "privacy.record_dp"),
        ({"strategy__name": "krum", "schedule__late": "next_round"}, "schedule.late"),
        ({"privacy__secure_aggregation": {}, "compression__codec": "topk"}, "compression.codec"),
        ({"privacy__secure_aggregation": {}, "compression__codec": "bfloat16"}, "compression.codec"),
        ({"privacy__secure_aggregation": {"min_cohort": 6}}, "privacy.secure_aggregation.min_cohort"),
        ({"privacy__record_dp": {}}, "schedule.select"),
        ({"privacy__record_dp": {}, "schedule__select": "last", "training__epochs": 0}, "training.epochs"),
        ({"privacy__institution_dp": {}}, "strategy.weighting"),
        ({"privacy__institution_dp": {}, "strategy__weighting": "equal", "strategy__name": "median"}, "strategy.name"),
        ({"privacy__institution_dp": {}, "strategy__weighting": "equal", "compression__codec": "topk"}, "compression.codec"),
        ({"privacy__institution_dp": {"clip": "adaptive"}, "strategy__weighting": "equal"}, "privacy.institution_dp.clip"),
    ],
)
def test_what_does_not_go_together_is_refused_at_its_field(changes, field):
    plan = a_plan(**{"participants": FIVE, **changes})
    assert fields(plan) == {field}
    with pytest.raises(PlanInvalid) as refused:
        require_combinable(plan)
    assert refused.value.got == field
    assert conflicts(plan)[0].sentence in refused.value.expected


def test_a_reason_names_the_numbers():
    sentence = conflicts(a_plan(strategy__name="krum"))[0].sentence
    assert sentence == "krum needs at least 5 banks in every round for this many hostile ones; a round may have 4."


def test_int8_goes_with_secure_aggregation():
    assert fields(a_plan(privacy__secure_aggregation={}, compression__codec="int8")) == set()


def test_numbers_that_the_strategy_does_not_use_are_told():
    plan = a_plan(strategy={"name": "fedprox", "mu": 0.1, "momentum": 0.9})
    assert [(note.field, note.sentence) for note in idle(plan)] == [("strategy.momentum", "fedprox does not use this number.")]
    assert idle(a_plan(strategy={"name": "trimmed_mean", "trim": 0.3, "weighting": "equal"})) == []


def test_what_newton_does_not_look_at_is_told():
    assert {note.field for note in idle(with_strategy("newton"))} == {"training.epochs", "schedule.select"}
