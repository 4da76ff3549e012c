"""Every state has one look and every kind of ledger entry one sentence, so that no page invents its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from institutions.happenings import SENTENCES as HAPPENINGS
from institutions.models import Agent, AgentKey, Institution
from institutions.words import LOOKS as INSTITUTION_LOOKS
from rounds.lifecycle import Phase, RoundState, RunState, Status
from rounds.models import PlanDecision, Project, Seat
from rounds.selectors.events import SENTENCES
from rounds.words import LOOKS

ROOT = Path(__file__).parents[2]
STATES = {
    "run": RunState,
    "round": RoundState,
    "phase": Phase,
    "seat": Seat.State,
    "decision": PlanDecision.Decision,
    "purpose": Project.Purpose,
    "status": Status,
    "institution": Institution.State,
    "agent": Agent.State,
    "key": AgentKey.State,
}


@pytest.mark.parametrize("kind", STATES)
def test_every_state_has_a_colour_an_icon_and_a_word(kind: str) -> None:
    looks = (LOOKS | INSTITUTION_LOOKS)[kind]
    assert [str(state) for state in STATES[kind] if str(state) not in looks] == []
    assert all(look.tone and look.icon and str(look.word) for look in looks.values())


def test_words_of_one_kind_differ() -> None:
    for kind, looks in (LOOKS | INSTITUTION_LOOKS).items():
        words = [str(look.word) for look in looks.values()]
        assert len(set(words)) == len(words), kind


def test_every_kind_of_entry_that_is_written_has_a_sentence() -> None:
    written: set[str] = set()
    for path in (*(ROOT / "rounds").rglob("*.py"), *(ROOT / "institutions").rglob("*.py"), *(ROOT / "audit").rglob("*.py")):
        text = path.read_text()
        written |= set(re.findall(r'\bkind(?:, \w+)? ?= ?"([a-z]+_[a-z_]+)"', text))
        written |= set(re.findall(r'\brecord\(\s*[\w.]+,\s*"([a-z_]+)"', text))
    assert written >= {"run_proposed", "round_closed", "plan_frozen"}
    assert sorted(written - set(SENTENCES) - set(HAPPENINGS)) == []
