"""Reasons in words: a catalogue of codes in English and Chinese, and the bank's own wording where it has one.

A reason's code is its kind and its feature, ``LOW-income``. A bank words it for its customers in ``reasons.toml``:

    ["income".LOW]
    en = "The income stated is low"
    zh = "申报收入较低"
    ["age"]
    fixed = true            # never suggested as something to change
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from clientagent.wire.errors import PolicyInvalid

Language = Literal["en", "zh"]


class Kind(StrEnum):
    HIGH = "HIGH"
    LOW = "LOW"
    TYPICAL = "TYPICAL"
    VALUE = "VALUE"
    RARE = "RARE"
    MISSING = "MISSING"


CATALOGUE: dict[Kind, dict[Language, str]] = {
    Kind.HIGH: {"en": "{feature} is high: {value}, typically {typical}", "zh": "{feature}偏高：{value}，通常为{typical}"},
    Kind.LOW: {"en": "{feature} is low: {value}, typically {typical}", "zh": "{feature}偏低：{value}，通常为{typical}"},
    Kind.TYPICAL: {"en": "{feature} is {value}", "zh": "{feature}为{value}"},
    Kind.VALUE: {"en": "{feature} is {value}", "zh": "{feature}为“{value}”"},
    Kind.RARE: {"en": "{feature} has an uncommon value: {value}", "zh": "{feature}的取值不常见：{value}"},
    Kind.MISSING: {"en": "{feature} is not stated", "zh": "{feature}未填写"},
}
CHANGE: dict[Language, str] = {
    "en": "{feature}: {better} would make the score {score}",
    "zh": "若{feature}为{better}，评分将为{score}",
}


@dataclass(frozen=True)
class Wording:
    """The bank's own sentences by code, and the features that nobody can change."""

    sentences: dict[str, dict[Language, str]] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()

    def sentence(self, kind: Kind, feature: str, language: Language, *, value: str, typical: str) -> str:
        own = self.sentences.get(code_of(kind, feature), {}).get(language)
        template = own if own is not None else CATALOGUE[kind][language]
        for name, text in (("{feature}", feature), ("{value}", value), ("{typical}", typical)):
            template = template.replace(name, text)
        return template


def code_of(kind: Kind, feature: str) -> str:
    return f"{kind.value}-{feature}"


def read_wording(path: Path) -> Wording:
    """The bank's ``reasons.toml``; without one the catalogue alone. Raises ``PolicyInvalid`` naming what is wrong."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Wording()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyInvalid(expected=f"{path}: TOML", got=str(error)[:300], action=f"Correct {path}.") from error
    sentences: dict[str, dict[Language, str]] = {}
    fixed = set()
    for feature, entries in document.items():
        for name, value in entries.items() if isinstance(entries, dict) else [("", entries)]:
            if name == "fixed" and isinstance(value, bool):
                fixed |= {feature} if value else set()
            elif name in Kind.__members__ and _is_wording(value):
                sentences[code_of(Kind(name), feature)] = value
            else:
                wanted = f"{path}: [{feature}] with fixed, or one of {', '.join(Kind)} with en and zh"
                raise PolicyInvalid(expected=wanted, got=str(name)[:100], action=f"Correct {path}.")
    return Wording(sentences, frozenset(fixed))


def _is_wording(value: Any) -> bool:
    return isinstance(value, dict) and set(value) <= {"en", "zh"} and all(isinstance(text, str) for text in value.values())
