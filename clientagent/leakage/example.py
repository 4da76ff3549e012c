"""The plan that is attacked where none is named: a small network on credit applications, with noise and masks."""

from __future__ import annotations

from clientagent.wire.plan import Plan, parse_plan

NUMBERS = ("age", "amount", "delinquencies", "enquiries", "existing_loans", "monthly_income", "months", "savings", "utilisation")
CATEGORIES = {"employment": ["none", "permanent", "retired", "temporary"], "housing": ["mortgage", "own", "rent", "with family"]}


def example_plan() -> Plan:
    numbers = [{"name": name, "kind": "numeric"} for name in NUMBERS]
    categories = [{"name": name, "kind": "categorical", "categories": listed} for name, listed in CATEGORIES.items()]
    return parse_plan({
        "project": "example", "features": [*numbers, *categories], "label": {"name": "default", "positive": 1},
        "participants": ["east", "north", "south", "west"], "model": {"family": "mlp", "hidden": [16]},
        "schedule": {"select": "last", "rounds": 10},
        "privacy": {"record_dp": {"epsilon": 3.0}, "secure_aggregation": {}},
    })
