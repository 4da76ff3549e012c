"""In what two plans differ, field by field."""

from __future__ import annotations

from dataclasses import dataclass

from clientagent.wire.plan import Plan


@dataclass(frozen=True)
class Difference:
    path: str
    before: str
    after: str


def differences(before: Plan, after: Plan) -> list[Difference]:
    """Every field in which two plans differ, in the plan's own order; a part that only one of them has is told by its fields."""
    old, new = flat(before.model_dump(mode="json")), flat(after.model_dump(mode="json"))
    paths = {**old, **new}
    changed = [path for path in paths if old.get(path) != new.get(path) and not any(other.startswith(f"{path}.") for other in paths)]
    return [Difference(path, old.get(path, ""), new.get(path, "")) for path in changed]


def flat(value: object, path: str = "") -> dict[str, str]:
    if isinstance(value, dict) and value:
        return {key: text for name, inner in value.items() for key, text in flat(inner, f"{path}.{name}".lstrip(".")).items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        named = {str(item.get("name", i)): item for i, item in enumerate(value)}
        return {key: text for name, inner in named.items() for key, text in flat(inner, f"{path}[{name}]").items()}
    return {path: ", ".join(str(item) for item in value) if isinstance(value, list) else "null" if value is None else str(value)}
