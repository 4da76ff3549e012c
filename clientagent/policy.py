"""What this bank accepts without asking a person. Nothing else decides whether a plan may run here.

The order of the questions is the order of ``decide``: what this version cannot run is refused; what a person said stands; without
a table there is nothing to accept; then the bounds of ``[accept]``; then, where the bank trusts it, the click in the browser;
else a person must look.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from clientagent.wire.capabilities import unsupported
from clientagent.wire.combinations import conflicts
from clientagent.wire.errors import DataUnfit, PolicyInvalid
from clientagent.wire.messages.privacy import PROJECT
from clientagent.wire.phrases import phrase
from clientagent.wire.plan import Plan, Slug
from clientagent.wire.strategies import needs_torch

TEMPLATE = """\
# What this bank lets the agent do without asking a person. Read before each decision; no restart is needed.

# true: an approval that our operator gives in the portal's browser counts as ours.
trust_portal_approvals = false

# A plan within all of these bounds is approved without a hand. Left empty, every plan waits for
# 'fedagent plans approve HASH'. Remove a '#' to set a bound.
[accept]
# projects = ["retail-credit"]        # nothing is accepted without a hand unless its project is listed
# families = ["logistic", "mlp"]      # left out: any family that this version can train
# max_rounds = 100
# min_banks = 3                       # fewest banks behind any published total
# require_secure_aggregation = false
# require_record_dp = false           # true: only plans with differential privacy for each customer
# max_institution_epsilon = 8.0       # most that your bank as a whole may lose in one project, over all its plans
# max_record_epsilon = 3.0            # most that one lineage's customers may lose, over all plans together

# Where the table for a project lies (CSV or Parquet; a relative path starts in this file's folder), and a name of your
# choice for where its customers come from: projects on the same customers share a lineage, and its privacy budget.
# Tables without a lineage count as the same customers.
# [data."retail-credit"]
# path = "applications.parquet"
# lineage = "retail-applications"
# memory_mb = 4096                    # a Parquet table that needs more is worked on from disk; left out: half of what is free
"""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Accept(_Table):
    """Bounds. ``projects`` empty accepts nothing."""

    projects: list[Slug] = []
    families: list[str] | None = None
    max_rounds: int | None = Field(None, ge=1)
    min_banks: int = Field(1, ge=1)
    require_secure_aggregation: bool = False
    require_record_dp: bool = False
    max_record_epsilon: float | None = Field(None, gt=0)
    max_institution_epsilon: float | None = Field(None, gt=0)

    def objections(self, plan: Plan) -> list[str]:
        """Why this plan is not within the bounds, each in a sentence; empty when it is."""
        if plan.project not in self.projects:
            return [phrase(f"project {plan.project} is not in [accept] projects")]
        record = plan.privacy.record_dp
        checks = [
            (self.families is not None and plan.model.family not in self.families, phrase(f"family {plan.model.family}")),
            (self.max_rounds is not None and plan.schedule.rounds > self.max_rounds, phrase(f"{plan.schedule.rounds} rounds")),
            (plan.privacy.min_banks < self.min_banks, f"min_banks {plan.privacy.min_banks}"),
            (self.require_secure_aggregation and plan.privacy.secure_aggregation is None, phrase("no secure aggregation")),
            (self.require_record_dp and record is None, phrase("no differential privacy for records")),
            (
                record is not None and self.max_record_epsilon is not None and record.epsilon > self.max_record_epsilon,
                f"epsilon {record.epsilon if record else 0:g}",
            ),
        ]
        return [phrase(f"{what} is outside the bounds of [accept]") for broken, what in checks if broken]


SAME_CUSTOMERS = "customers"
"""The lineage of tables that name none: privacy is then counted as if all of them held the same people."""


class Data(_Table):
    path: str = Field(min_length=1)
    lineage: str = Field("", max_length=100)
    memory_mb: int | None = Field(None, ge=1)

    @field_validator("lineage")
    @classmethod
    def _no_project(cls, lineage: str) -> str:
        if lineage.strip().startswith(PROJECT):
            raise ValueError(f"{PROJECT} names the ledger of the bank as a whole")
        return lineage


class Policy(_Table):
    """``policy.toml``, checked."""

    trust_portal_approvals: bool = False
    accept: Accept = Accept()
    data: dict[Slug, Data] = {}

    def lineage_of(self, project: str) -> str:
        return (self.data[project].lineage.strip() if project in self.data else "") or SAME_CUSTOMERS

    def table_of(self, project: str, *, folder: Path) -> Path:
        """Where the table of a project lies. Raises ``DataUnfit`` when the policy names none."""
        if project not in self.data:
            raise DataUnfit(
                expected=f'[data."{project}"] with a path in policy.toml', got="no such entry",
                action=f"Name the table of project {project} in {folder / 'policy.toml'}.",
            )
        return folder / Path(self.data[project].path).expanduser()


def load_policy(path: Path) -> Policy:
    """Raises ``PolicyInvalid`` naming the line or the key. No file accepts nothing."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Policy()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyInvalid(expected="TOML", got=str(error), action=f"Correct {path}.") from error
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        raise PolicyInvalid(
            expected=f"{key}: {said}", got=repr(first.get("input"))[:80], action=f"Correct {key} in {path}."
        ) from error


@dataclass(frozen=True)
class Verdict:
    """A decision on a plan, who made it and why."""

    decision: Literal["approved", "refused", "pending"]
    by: Literal["policy", "hand", "portal"]
    reason: str = ""


def decide(
    plan: Plan, policy: Policy, *, institution: str, hand: Verdict | None, portal_approval: bool, can_train: bool = True,
    can_account: bool = True, unfit: str = "",
) -> Verdict:
    """What this bank says to a plan. ``hand`` is what a person here has said about this very hash.

    ``unfit``: why the plan's plugin cannot run here; empty where it can.
    """
    if institution not in plan.participants:
        return Verdict("refused", "policy", f"{institution} is not a participant of this plan")
    if missing := unsupported(plan):
        fields = "; ".join(phrase(f"{field} (this version: {offered})") for field, offered in missing)
        return Verdict("refused", "policy", f"this version of the agent cannot run {fields}")
    if found := conflicts(plan):
        return Verdict("refused", "policy", " ".join(f"{conflict.field}: {conflict.sentence}" for conflict in found))
    if unfit:
        return Verdict("refused", "policy", unfit)
    if hand is not None:
        return hand
    if plan.project not in policy.data:
        return Verdict("pending", "policy", f"policy.toml names no table for project {plan.project}")
    if needs_torch(plan) and not can_train:
        return Verdict("pending", "policy", "the agent cannot train: torch is not installed (fedagent[train])")
    if plan.privacy.record_dp is not None and not can_account:
        return Verdict("pending", "policy", "the agent cannot account for privacy: install fedagent[privacy]")
    objections = policy.accept.objections(plan)
    if not objections:
        return Verdict("approved", "policy")
    if portal_approval and policy.trust_portal_approvals:
        return Verdict("approved", "portal")
    return Verdict("pending", "policy", "; ".join(objections))
