"""Who may compute a closed round, and until when. The database decides who gets it."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from rounds import crashing
from rounds.clock import now
from rounds.lifecycle import RoundEvent, RoundState, next_round_state
from rounds.models import Round

LEASE_S = 30.0


@transaction.atomic(durable=True)
def claim_round(*, round_: Round, owner: str) -> bool:
    """Take the lease of a closed round, or of one whose worker was lost. The database decides who gets it."""
    moment = now()
    free = {RoundState.CLOSING: Q(), RoundState.AGGREGATING: Q(lease_until__lte=moment)}
    lease = {"lease_owner": owner, "lease_until": moment + timedelta(seconds=LEASE_S)}
    for was, unheld in free.items():
        to = next_round_state(was, RoundEvent.CLAIM)
        if Round.objects.filter(unheld, pk=round_.pk, state=was).update(state=to, **lease) == 1:
            crashing.moving(f"round:{was}:{RoundEvent.CLAIM}")
            return True
    return False


def renew_lease(*, round_: Round, owner: str) -> bool:
    """Keep the lease while computing; False when it was lost to another worker."""
    until = now() + timedelta(seconds=LEASE_S)
    held = Round.objects.filter(pk=round_.pk, state=RoundState.AGGREGATING, lease_owner=owner)
    return held.update(lease_until=until) == 1


def give_back_lease(*, round_: Round, owner: str, after_s: float = 0.0) -> bool:
    """Let the next worker have the round: ``owner`` is dead, or could not compute it."""
    until = now() + timedelta(seconds=after_s)
    held = Round.objects.filter(pk=round_.pk, state=RoundState.AGGREGATING, lease_owner=owner)
    return held.update(lease_until=until) == 1
