"""What the wire's tests start from: a small valid plan and ways to vary it."""

from __future__ import annotations

from typing import Any

from clientagent.wire.plan import Plan, parse_plan

SMALL: dict[str, Any] = {
    "project": "retail-credit",
    "features": [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical"}],
    "label": {"name": "default", "positive": 1},
    "participants": ["north", "south", "east", "west"],
}


def a_plan(**changes: Any) -> Plan:
    """The small plan; ``training__epochs=3`` sets a field of a part."""
    document: dict[str, Any] = dict(SMALL)
    for name, value in changes.items():
        part, _, field = name.partition("__")
        if field:
            document[part] = {**document.get(part, {}), field: value}
        else:
            document[part] = value
    return parse_plan(document)
