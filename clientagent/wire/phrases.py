"""Refusals in the reader's language. They are composed, sent, kept and logged in English; here they are recognised and said anew.

Whoever shows a refusal cannot translate it by the whole: it holds names and numbers. The catalogue has the templates from which the code
makes its texts (``at most {limit} bytes``, read off the source when the catalogue is made); a text that one of them fits is said in the
template's translation, with what stood in its places. What nothing fits stays as it was written: a person's own words.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

LOCALE = Path(__file__).parents[1] / "translations"
DOMAIN = "fedagent"
CHINESE = "zh_Hans"
PLACE = re.compile(r"\{(\w+)\}")
LEAST_LETTERS = 4
"""Of a template outside of its places: one with fewer would fit anything."""
DEEPEST = 4
"""A refusal within a refusal, and so on."""
JOINTS = ("; ", " or: ", ". ", ", ", ": ")
"""What the code joins several texts by, the loosest first."""


def phrase(text: str) -> str:
    """Marks a text that is composed here and said in the reader's language where it is shown."""
    return text


SENTENCES = (
    phrase("{code}: expected {expected}, got {got}"),
    phrase("{code}: expected {expected}"),
    phrase("{code}: got {got}"),
    phrase("expected {expected}, got {got}"),
)
"""How ``Refusal.sentence`` is put together."""
OF_PYDANTIC = (
    phrase("greater than {least}"), phrase("greater than or equal to {least}"), phrase("less than {most}"),
    phrase("less than or equal to {most}"), phrase("a finite number"), phrase("a valid number"), phrase("a valid integer"),
    phrase("a valid number, unable to parse string as a number"), phrase("a valid integer, unable to parse string as an integer"),
    phrase("a valid integer, got a number with a fractional part"), phrase("a valid string"), phrase("a valid boolean"),
    phrase("a valid list"), phrase("a valid dictionary"), phrase("a valid dictionary or instance of {name}"), phrase("Field required"),
    phrase("String should have at least {least} character"), phrase("String should have at most {most} characters"),
    phrase("String should match pattern '{pattern}'"), phrase("List should have at least {least} item after validation, not {n}"),
    phrase("List should have at most {most} items after validation, not {n}"),
)
"""What pydantic says of a plan's field, without its 'Input should be'."""


@dataclass(frozen=True)
class _Template:
    """``pattern`` fits what a template was filled in to; ``literal`` is its longest part that is always the same."""

    pattern: re.Pattern[str]
    literal: str
    said: str


class Phrasebook:
    """Texts and templates, each with its translation. ``texts``: English to the other language, as a catalogue has them."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {text: said for text, said in texts.items() if text and said}
        self.say = lru_cache(maxsize=4096)(self._say)

    def _say(self, text: str, depth: int = 0) -> str:
        """The text in the other language; as it is where nothing fits it."""
        for written in (text, text.rstrip("."), f"{text}."):
            if (said := self._texts.get(written)) is not None and not PLACE.search(written):
                return said
        if depth > DEEPEST or not text.strip():
            return text
        return self._by_template(text, depth) or self._by_parts(text, depth) or text

    def _by_template(self, text: str, depth: int) -> str:
        for template in self._templates:
            if template.literal in text and (match := template.pattern.fullmatch(text)):
                return template.said.format(**{name: self._say(value, depth + 1) for name, value in match.groupdict().items()})
        return ""

    def _by_parts(self, text: str, depth: int) -> str:
        """Several texts in one, of which at least one is known."""
        for joint in JOINTS:
            parts = text.split(joint)
            said = [self._say(part, depth + 1) for part in parts] if len(parts) > 1 else parts
            if said != parts:
                return joint.join(said)
        return ""

    @cached_property
    def _templates(self) -> list[_Template]:
        """The most telling first: many letters, few places."""
        found = [
            _Template(_pattern(text), max(PLACE.split(text)[::2], key=len), said)
            for text, said in self._texts.items() if _tells(text)
        ]
        return sorted(found, key=lambda one: (-len(one.literal), one.pattern.pattern))


def _tells(text: str) -> bool:
    parts = PLACE.split(text)
    if "{" in "".join(parts[::2]):  # places with a format: only of texts that are translated as a whole
        return False
    return len(parts) > 1 and sum(letter.isalpha() for part in parts[::2] for letter in part) >= LEAST_LETTERS


def _pattern(text: str) -> re.Pattern[str]:
    parts = PLACE.split(text)
    names = iter(parts[1::2])
    seen: set[str] = set()
    built = re.escape(parts[0])
    for literal in parts[2::2]:
        name = next(names)
        built += f"(?P={name})" if name in seen else f"(?P<{name}>.*?)"
        seen.add(name)
        built += re.escape(literal)
    return re.compile(built, re.DOTALL)


@cache
def phrasebook(language: str = CHINESE) -> Phrasebook:
    """Of a language; empty where there is no catalogue of it."""
    catalogue = gettext.translation(DOMAIN, LOCALE, [language], fallback=True)
    return Phrasebook({text: said for text, said in vars(catalogue).get("_catalog", {}).items() if isinstance(text, str)})
