"""A plan from a file that a person holds: JSON, or YAML where PyYAML is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import Malformed, PlanInvalid
from clientagent.wire.plan import Plan, parse_plan

MAX_BYTES = 8 * 2**20


def read_plan(path: Path) -> Plan:
    """Raises ``PlanInvalid`` naming the first wrong field."""
    if path.stat().st_size > MAX_BYTES:
        raise PlanInvalid(expected=f"a plan of at most {MAX_BYTES} bytes", got=f"{path.stat().st_size} bytes")
    data = path.read_bytes()
    try:
        document: Any = parse_json(data)
    except Malformed:
        document = _from_yaml(data, path)
    if not isinstance(document, dict):
        raise PlanInvalid(expected="a plan with its fields", got=type(document).__name__)
    inner = document.get("document", document)  # a plan under the portal's signature
    return parse_plan(inner["plan"] if isinstance(inner, dict) and inner.get("type") == "plan" else document)


def _from_yaml(data: bytes, path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise PlanInvalid(expected="JSON, or YAML with PyYAML installed (fedagent[data])", got=path.name) from error
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise PlanInvalid(expected="JSON or YAML", got=str(error)[:200]) from error
