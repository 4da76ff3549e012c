"""What both sides know of a strategy: its numbers, its vectors, its files."""

from __future__ import annotations

import pytest

from clientagent.wire.errors import PlanUnsupported
from clientagent.wire.plan import STRATEGIES, Strategy
from clientagent.wire.strategies import (
    DEFAULTS,
    LARGEST_NEWTON,
    OPEN,
    SENT_DOWN,
    SERVER_VECTORS,
    number_of,
    require_solvable,
    server_layout,
    uplink_layout,
)
from clientagent.wire.weights import layout_of
from tests.wire.given import a_plan


def test_a_number_is_the_plans_or_the_default():
    assert number_of(Strategy(name="fedprox"), "mu") == DEFAULTS["fedprox"]["mu"]
    assert number_of(Strategy(name="fedprox", mu=0.5), "mu") == 0.5
    assert number_of(Strategy(name="fedprox", mu=0.0), "mu") == 0.0
    with pytest.raises(KeyError):
        number_of(Strategy(name="fedavg"), "mu")


def test_the_tables_speak_of_strategies_and_numbers_that_plans_have():
    for table in (DEFAULTS, OPEN, SERVER_VECTORS, SENT_DOWN):
        assert set(table) <= set(STRATEGIES)
    assert {number for numbers in (*DEFAULTS.values(), *OPEN.values()) for number in numbers} <= set(Strategy.model_fields)
    assert all(set(SENT_DOWN[name]) <= set(SERVER_VECTORS[name]) for name in SENT_DOWN)


def test_every_default_is_a_number_that_a_plan_may_say():
    for name, numbers in DEFAULTS.items():
        assert Strategy(name=name, **numbers).model_dump(include=set(numbers)) == numbers


def test_most_strategies_send_the_models_own_tensors():
    plan = a_plan(strategy__name="fedadam")
    assert uplink_layout(plan, 5) == layout_of(plan, 5)


def test_scaffold_sends_two_vectors_and_newton_the_sums():
    size = layout_of(a_plan(), 5).parameters
    assert uplink_layout(a_plan(strategy__name="scaffold"), 5).shapes == {"control": (size,), "update": (size,)}
    newton = a_plan(strategy__name="newton", model__family="logistic")
    assert uplink_layout(newton, 5).shapes == {"gradient": (6,), "hessian": (21,)}


def test_the_servers_vectors_lie_where_their_names_say():
    assert server_layout("fedavg", 10) is None
    layout = server_layout("fedadam", 10)
    assert layout is not None
    assert layout.offset_of("second_moment") - layout.offset_of("momentum") == 40
    assert layout.offset_of("momentum") == len(layout.header)
    assert layout.file_bytes == len(layout.header) + 80


def test_newton_is_for_models_that_can_be_solved():
    newton = Strategy(name="newton")
    require_solvable(newton, LARGEST_NEWTON)
    require_solvable(Strategy(name="fedavg"), 10**9)
    with pytest.raises(PlanUnsupported):
        require_solvable(newton, LARGEST_NEWTON + 1)
