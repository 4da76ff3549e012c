"""What ``simulate --json`` wrote, read again: what a plan can be expected to cost and to reach."""

from __future__ import annotations

import contextlib
import statistics

from pydantic import BaseModel, ConfigDict, Field

from clientagent.wire.errors import PlanInvalid
from clientagent.wire.plan import Plan, as_text, parse_plan

AUC = Field(default=None, ge=0, le=1)
Amount = Field(ge=0, lt=1e15, allow_inf_nan=False)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RoundOf(_Part):
    seconds: float = Amount
    bytes_up: int = Amount
    bytes_down: int = Amount
    participants: int = Field(ge=0, le=100_000)
    epsilon: float | None = Field(default=None, ge=0, allow_inf_nan=False)


class Scores(_Part):
    auc: float | None = AUC


class BankOf(_Part):
    """A bank alone and with the others, on its own hold-out customers."""

    institution: str = Field(max_length=80)
    own_auc: float | None = AUC
    final_own_auc: float | None = AUC


class Totals(_Part):
    seconds: float = Amount
    bytes_up: int = Amount
    bytes_down: int = Amount


class Rehearsal(_Part):
    """``plan_hash`` is of the plan that the rehearsed banks ran; the rest is as ``simulate`` explains."""

    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    rounds: list[RoundOf] = Field(min_length=1, max_length=10_000)
    final: Scores
    central: Scores | None = None
    local: list[BankOf] = Field(default=[], max_length=1000)
    totals: Totals

    @property
    def round_s(self) -> float:
        """Seconds of the middle round."""
        return statistics.median(round_.seconds for round_ in self.rounds)

    @property
    def bank_bytes(self) -> tuple[int, int]:
        """About how many bytes a bank sends and fetches in a round."""
        shares = sum(round_.participants for round_ in self.rounds) or 1
        return self.totals.bytes_up // shares, self.totals.bytes_down // shares

    @property
    def banks(self) -> int:
        return max(round_.participants for round_ in self.rounds)

    @property
    def epsilon(self) -> float | None:
        return self.rounds[-1].epsilon

    @property
    def change(self) -> float | None:
        """AUC against a model of all rows in one place, without the plan's protections."""
        if self.final.auc is None or self.central is None or self.central.auc is None:
            return None
        return self.final.auc - self.central.auc


def is_of(found: Rehearsal, plan: Plan) -> bool:
    """Whether this plan was rehearsed: the same document, but for the banks that the table was split among."""
    document = plan.model_dump(mode="json")
    slugs = [bank.institution for bank in found.local] or [f"bank-{i + 1}" for i in range(found.banks)]
    stated = document["label"]["positive"]
    for positive in (stated, as_text(stated)):  # as the file says it, or as --positive does
        label = {**document["label"], "positive": positive}
        with contextlib.suppress(PlanInvalid):
            if parse_plan({**document, "participants": slugs, "label": label}).hash == found.plan_hash:
                return True
    return False
