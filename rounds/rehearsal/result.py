"""What ``simulate --json`` wrote, read again: what a plan can be expected to cost and to reach."""

from __future__ import annotations

import statistics

from pydantic import BaseModel, ConfigDict, Field

from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.plan import Plan, as_text

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
    """``plan_terms`` says which plans it is a rehearsal of; the rest is as ``simulate`` explains."""

    plan_terms: str = Field(pattern=r"^[0-9a-f]{64}$")
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


def terms_of(plan: Plan) -> str:
    """The digest of all that a rehearsal on other banks has in common with the plan: everything but whose it is and its seed."""
    document = plan.model_dump(mode="json")
    for owner, name in ((document, "project"), (document, "participants"), (document["training"], "seed"),
                        (document["schedule"], "required")):  # fmt: skip
        owner.pop(name, None)
    document["label"]["positive"] = as_text(document["label"]["positive"])  # 1 on a command line, "1" in a table: the same
    return sha256_hex(canonical(document))
