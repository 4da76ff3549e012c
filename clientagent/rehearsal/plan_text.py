"""A plan as YAML for a person: each field with its sentence beside it. Reading it back gives the same plan."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from clientagent.wire.plan import Feature, Plan

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
WORDS_OF_YAML = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
BEST = [
    "# The best mlp that was measured has preprocessing.numeric: piecewise, strategy.name: scaffold, training.decay: cosine,",
    "# schedule.rounds: 30. It is not for record_dp, secure_aggregation or async. Try both with simulate.",
]
COMMENTS_FROM = 44
"""The column where the sentences begin."""


def plan_text(plan: Plan, *, left_out: dict[str, str]) -> str:
    """The YAML. ``left_out`` names columns that were not taken as features, and why."""
    head = ["# Drafted from a table: read it, edit it, then freeze it in the browser."]
    head += BEST if plan.model.family == "mlp" else []
    head += [f"# left out: {_quoted(name)} ({why})" for name, why in left_out.items()]
    return "\n".join([*head, *_fields(plan, ""), ""])


def _fields(part: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:"
            yield from _fields(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Feature):
            yield _with_comment(f"{indent}{name}:", field.description)
            yield from (f"{indent}  - {_flow(feature.model_dump(exclude_none=True))}" for feature in value)
        else:
            yield _with_comment(f"{indent}{name}: {_flow(value)}", field.description)


def _with_comment(line: str, sentence: str | None) -> str:
    return f"{line:<{COMMENTS_FROM - 2}}  # {sentence}" if sentence else line


def _flow(value: Any) -> str:
    """One value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.lower() not in WORDS_OF_YAML else _quoted(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    """A YAML text in double quotes; what cannot be printed, and what would end it, by its number."""
    letters = [letter if letter.isprintable() and letter not in '"\\' else f"\\U{ord(letter):08x}" for letter in text]
    return f'"{"".join(letters)}"'


def _number(value: float) -> str:
    """YAML 1.1 takes 1e-05 for a text: a number needs a point and a sign there."""
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    point, sign = ("" if "." in mantissa else ".0"), ("" if exponent[0] in "+-" else "+")
    return f"{mantissa}{point}e{sign}{exponent}"
