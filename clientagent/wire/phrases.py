"""Refusals in the reader's language. They are composed, sent, kept and logged in English; here they are recognised and said anew.

Whoever shows a refusal cannot translate it by the whole: it holds names and numbers. The catalogue has the templates from which the code
makes its texts (``at most {limit} bytes``, read off the source when the catalogue is made); a text that one of them fits is said in the
template's translation, with what stood in its places. What nothing fits stays as it was written: a person's own words.
"""

from __future__ import annotations

import gettext
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

LOCALE = Path(__file__).parents[1] / "translations"
DOMAIN = "fedagent"
CHINESE = "zh_Hans"
PLACE = re.compile(r"\{(\w+)\}")
LEAST_LETTERS = 4
"""Of a template outside of its places: one with fewer would fit anything."""
TELLING_LETTERS = 12
"""From so many on, its places may hold several words."""
STOPS = ".。"
DEEPEST = 4
"""A refusal within a refusal, and so on."""
JOINTS = ("; ", " or: ", ". ", ": ", ", ")
"""What the code joins several texts by, the loosest first."""


def phrase(text: str) -> str:
    """Marks a text that is composed here and said in the reader's language where it is shown."""
    return text


SENTENCES = (
    phrase("{code}: expected {expected}, got {got}"),
    phrase("expected {expected}, got {got}"),
    phrase("{code}: expected {expected}"),
    phrase("{code}: got {got}"),
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
        self._texts = {_bare(text): said.strip() for text, said in texts.items() if text and said}
        self.say = lru_cache(maxsize=4096)(self._say)

    def _say(self, text: str, depth: int = 0) -> str:
        """The text in the other language; as it is where nothing fits it.

        Known as a whole, as a refusal's sentence, as several that are all known, by a template, as several of which some are known.
        """
        bare = _bare(text)
        if depth > DEEPEST or not bare:
            return text
        for attempt in (self._whole, self._as_sentence, self._all_parts, self._by_template, self._some_parts):
            if (said := attempt(bare, depth)) is not None:
                return _stopped(said) if text.rstrip().endswith(".") else said.rstrip(STOPS)
        return text

    def _whole(self, bare: str, depth: int) -> str | None:
        return None if PLACE.search(bare) else self._texts.get(bare)

    def _as_sentence(self, bare: str, depth: int) -> str | None:
        return self._filled(self._sentences, bare, depth)

    def _by_template(self, bare: str, depth: int) -> str | None:
        return self._filled(self._templates, bare, depth)

    def _filled(self, templates: list[_Template], bare: str, depth: int) -> str | None:
        for template in templates:
            if template.literal in bare and (match := template.pattern.fullmatch(bare)):
                return template.said.format(**{name: self._say(value, depth + 1) for name, value in match.groupdict().items()})
        return None

    def _all_parts(self, bare: str, depth: int) -> str | None:
        return self._parts(bare, depth, JOINTS[:-1], all)

    def _some_parts(self, bare: str, depth: int) -> str | None:
        return self._parts(bare, depth, JOINTS, any)

    def _parts(self, bare: str, depth: int, joints: tuple[str, ...], enough: Callable[[list[bool]], bool]) -> str | None:
        """Several texts in one."""
        for joint in joints:
            parts = bare.split(joint)
            said = [self._say(part, depth + 1) for part in parts] if len(parts) > 1 else parts
            if len(parts) > 1 and enough([one != part for one, part in zip(said, parts, strict=True)]):
                return joint.join(said)
        return None

    @cached_property
    def _sentences(self) -> list[_Template]:
        return [self._template(text) for text in SENTENCES if text in self._texts]

    @cached_property
    def _templates(self) -> list[_Template]:
        """The most telling first: those with the longest part that is always the same."""
        found = [self._template(text) for text in self._texts if _letters(text) >= LEAST_LETTERS and text not in SENTENCES]
        return sorted(found, key=lambda one: (-len(one.literal), one.pattern.pattern))

    def _template(self, text: str) -> _Template:
        return _Template(_pattern(text), max(PLACE.split(text)[::2], key=len), self._texts[text])


def _bare(text: str) -> str:
    """Without the stop at its end: the same text stands alone, or within a sentence."""
    return text.strip().rstrip(".")


def _stopped(said: str) -> str:
    return said if said.endswith(tuple(STOPS)) else f"{said}{STOPS[-1] if not said.isascii() else STOPS[0]}"


def _letters(text: str) -> int:
    """Letters of a template beside its places; none of a text that has no place, or places with a format: it is known as a whole only."""
    parts = PLACE.split(text)
    if len(parts) == 1 or "{" in "".join(parts[::2]):
        return 0
    return sum(letter.isalpha() for part in parts[::2] for letter in part)


def _pattern(text: str) -> re.Pattern[str]:
    """Places of a short template hold one word: otherwise it would fit too much."""
    parts = PLACE.split(text)
    held = ".*?" if _letters(text) >= TELLING_LETTERS or text in SENTENCES else r"\S+?"
    names = iter(parts[1::2])
    seen: set[str] = set()
    built = re.escape(parts[0])
    for literal in parts[2::2]:
        name = next(names)
        built += f"(?P={name})" if name in seen else f"(?P<{name}>{held})"
        seen.add(name)
        built += re.escape(literal)
    return re.compile(built, re.DOTALL)


@cache
def phrasebook(language: str = CHINESE) -> Phrasebook:
    """Of a language; empty where there is no catalogue of it."""
    catalogue = gettext.translation(DOMAIN, LOCALE, [language], fallback=True)
    return Phrasebook({text: said for text, said in vars(catalogue).get("_catalog", {}).items() if isinstance(text, str)})
