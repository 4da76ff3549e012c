"""What the tests of privacy start from: plans with record_dp, learnable rows, ledgers."""

from __future__ import annotations

from typing import Any

import numpy as np

from clientagent.preparation.preprocess import Inputs
from clientagent.privacy.ledger import PrivacyLedger
from clientagent.wire.messages.privacy import Kind, Mechanism, PrivacyEvent
from clientagent.wire.plan import Plan, parse_plan
from clientagent.wire.privacy.events import Spending
from tests.agent.given import one_bank_plan

RUN, OTHER_RUN = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
BASES = [f"{i:064x}" for i in range(1, 100)]


def private_plan(record: dict[str, Any] | None = None, **changes: Any) -> Plan:
    """The one-bank plan, trained privately: two rounds of one pass with every fifth row in a step."""
    plan = one_bank_plan(**{"training__epochs": 1, "schedule__select": "last", **changes})
    document = plan.model_dump(mode="json")
    document["privacy"]["record_dp"] = {"epsilon": 1.0, "sampling": 0.2, "statistics": 0.0, **(record or {})}
    return parse_plan(document)


def some_rows(rows: int = 400, inputs: int = 5, seed: int = 0) -> Inputs:
    """Labels that the first input mostly decides."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, inputs)).astype(np.float32)
    return Inputs(matrix, (matrix[:, 0] + 0.5 * rng.normal(size=rows) > 0).astype(np.int8))


def spending(*groups: tuple[float, float, int], kind: Kind = "dp_sgd", failure: float = 0.0) -> Spending:
    """From (noise multiplier, sampling rate, steps)."""
    return Spending(frozenset((Mechanism(kind, noise, rate), steps) for noise, rate, steps in groups), failure)


def an_event(**changes: Any) -> PrivacyEvent:
    fields: dict[str, Any] = {
        "release": "a" * 64, "mechanism": "dp_sgd", "unit": "record", "noise_multiplier": 2.0, "sampling_rate": 0.1,
        "steps": 10, "clip": 1.0, "delta": 1e-6, "base_digest": BASES[0], "accountant": "dp-accounting 0.6.0", **changes,
    }  # fmt: skip
    return PrivacyEvent(**fields)


def a_ledger(folder: Any, **changes: Any) -> PrivacyLedger:
    fields: dict[str, Any] = {
        "institution": "north", "lineage": "retail", "now": lambda: "2026-01-01T00:00:00Z", **changes,
    }  # fmt: skip
    return PrivacyLedger(folder, **fields)
