"""``--fault BANK:ROUND:PHASE:ACTION``: what a rehearsal does to a bank, checked here and handed to its agent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from clientagent.wire.errors import Refusal
from clientagent.wire.plan import Plan

VARIABLE = "FEDAGENT_FAULTS"
SECURE_PHASES = ("keys", "shares", "masked", "unmask")
PHASES = ("pulled", "training", "uploading", *SECURE_PHASES)
ACTIONS = ("drop", "kill", "slow", "flip")


class FaultInvalid(Refusal):
    code = "fault_invalid"
    advice = "Write BANK:ROUND:PHASE:ACTION, for example north:2:training:kill or south:all:training:slow."


@dataclass(frozen=True)
class Fault:
    bank: str
    round: str
    phase: str
    action: str

    @property
    def text(self) -> str:
        return f"{self.bank}:{self.round}:{self.phase}:{self.action}"


def parse_fault(text: str) -> Fault:
    """Raises ``FaultInvalid``."""
    parts = text.split(":")
    if len(parts) != 4:
        raise FaultInvalid(expected="BANK:ROUND:PHASE:ACTION", got=text)
    fault = Fault(*parts)
    least = 0 if fault.phase in SECURE_PHASES else 1  # 0: the cohort that sums statistics
    if fault.round != "all" and not (fault.round.isdecimal() and int(fault.round) >= least):
        raise FaultInvalid(expected="a round's number or 'all'", got=fault.round)
    for value, known in ((fault.phase, PHASES), (fault.action, ACTIONS)):
        if value not in known:
            raise FaultInvalid(expected=" or ".join(known), got=value)
    return fault


def require_fit(faults: Iterable[Fault], plan: Plan) -> None:
    """That each fault can happen under this plan. Raises ``FaultInvalid``."""
    for fault in faults:
        if fault.bank not in plan.participants:
            raise FaultInvalid(expected=f"a bank of {', '.join(plan.participants)}", got=fault.text)
        if fault.phase in SECURE_PHASES and plan.privacy.secure_aggregation is None:
            raise FaultInvalid(
                expected="a plan with secure aggregation", got=fault.text,
                action=f"No bank reaches {fault.phase} without it: choose another phase, or --set privacy.secure_aggregation.",
            )


def for_agent(faults: Iterable[Fault], bank: str) -> dict[str, str]:
    """The environment of this bank's agent."""
    own = [
        {"round": "all" if fault.round == "all" else int(fault.round), "phase": fault.phase, "action": fault.action}
        for fault in faults
        if fault.bank == bank
    ]
    return {VARIABLE: json.dumps(own)} if own else {}
