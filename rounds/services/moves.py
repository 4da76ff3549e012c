"""Moving a run or a round: the table decides what is legal, a guarded UPDATE decides who was first."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from audit.services import append
from clientagent.wire.errors import IllegalMove
from rounds import crashing, live
from rounds.lifecycle import RoundEvent, RoundState, RunEvent, RunState, next_round_state, next_run_state
from rounds.models import Round, Run
from rounds.wake import poke


def move_run(run: Run, event: RunEvent, **changes: Any) -> None:
    """Move a run, or raise ``IllegalMove``: by the table, or because somebody moved it first."""
    was = RunState(run.state)
    to = next_run_state(was, event)
    if Run.objects.filter(pk=run.pk, state=was).update(state=to, **changes) != 1:
        raise IllegalMove(expected=f"the run in state {was}", got="a run that somebody moved first")
    crashing.moving(f"run:{was}:{event}")
    run.state = to
    for name, value in changes.items():
        setattr(run, name, value)
    hint_after_commit(run)


def move_round(round_: Round, event: RoundEvent, **changes: Any) -> bool:
    """Move a round; False when somebody was first. Raises ``IllegalMove`` when the table forbids it."""
    was = RoundState(round_.state)
    to = next_round_state(was, event)
    if Round.objects.filter(pk=round_.pk, state=was).update(state=to, **changes) != 1:
        return False
    crashing.moving(f"round:{was}:{event}")
    round_.state = to
    for name, value in changes.items():
        setattr(round_, name, value)
    return True


def record(run: Run, kind: str, body: dict[str, Any], *, actor: str = "portal") -> Any:
    """One entry on the run's own chain."""
    return append(chain=run.chain, kind=kind, actor=actor, body=body)


def hint_after_commit(run: Run) -> None:
    """Tell the engine and the browsers to look again, once this transaction is true."""
    run_id = str(run.pk)
    transaction.on_commit(lambda: live.announce(run_id))
    transaction.on_commit(lambda: poke(run_id))


def actor_of(user: Any) -> str:
    """How a person is named on the ledger."""
    return f"user:{user.email or user.get_username()}" if user is not None else "portal"


def actor_of_agent(agent_id: Any) -> str:
    return f"agent:{agent_id}"

