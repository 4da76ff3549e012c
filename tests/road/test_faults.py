"""``--fault`` is checked before anything is started, and reaches the agent in its own words."""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter

from clientagent.faults import Fault as AgentFault
from rounds.rehearsal.faults import FaultInvalid, for_agent, parse_fault, require_fit
from tests.wire.given import a_plan


@pytest.mark.parametrize("phase", ["pulled", "training", "uploading"])
@pytest.mark.parametrize("action", ["drop", "kill", "slow", "flip"])
@pytest.mark.parametrize("round_", ["1", "17", "all"])
def test_what_the_command_takes_the_agent_understands(round_, phase, action):
    told = for_agent([parse_fault(f"north:{round_}:{phase}:{action}")], "north")
    (fault,) = TypeAdapter(list[AgentFault]).validate_json(told["FEDAGENT_FAULTS"])
    assert fault.hits(17) == (round_ in ("17", "all"))
    assert (fault.phase, fault.action) == (phase, action)


def test_a_bank_hears_of_its_own_faults_only():
    faults = [parse_fault("north:1:training:kill"), parse_fault("south:2:pulled:drop")]
    assert len(json.loads(for_agent(faults, "south")["FEDAGENT_FAULTS"])) == 1
    assert for_agent(faults, "east") == {}


@pytest.mark.parametrize(
    "text",
    [
        "", "north", "north:1:training", "north:1:training:kill:now", "north:0:training:kill", "north:-1:training:kill",
        "north:x:training:kill", "north:1:sleeping:kill", "north:1:training:explode", "north::training:kill",
    ],
)
def test_what_is_no_fault_is_refused(text):
    with pytest.raises(FaultInvalid):
        parse_fault(text)


def test_a_fault_needs_a_bank_of_the_plan():
    require_fit([parse_fault("north:1:training:kill")], a_plan())
    with pytest.raises(FaultInvalid, match="zurich"):
        require_fit([parse_fault("zurich:1:training:kill")], a_plan())


@pytest.mark.parametrize("phase", ["keys", "shares", "masked", "unmask"])
def test_a_phase_of_secure_aggregation_needs_secure_aggregation(phase):
    fault = parse_fault(f"north:1:{phase}:drop")
    require_fit([fault], a_plan(privacy__secure_aggregation={}))
    with pytest.raises(FaultInvalid, match="secure aggregation"):
        require_fit([fault], a_plan())
