"""The language in which the command line speaks to a person: English as it is written, or Chinese from the catalogue beside this file.

What programs read stays English: codes, logs, ``--json`` and whatever is sent to the portal.
"""

from __future__ import annotations

import gettext
import inspect
import os
from collections.abc import Callable, Mapping
from typing import TypeVar
from unicodedata import east_asian_width

from clientagent.wire.phrases import CHINESE, DOMAIN, LOCALE, phrasebook

F = TypeVar("F", bound=Callable[..., object])
VARIABLES = ("FEDAGENT_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


def language(environ: Mapping[str, str]) -> str:
    """``zh_Hans`` or ``en``, by the first of ``VARIABLES`` that is set. Traditional Chinese has no catalogue and gets English."""
    said = next((environ[name] for name in VARIABLES if environ.get(name)), "")
    tag = said.partition(":")[0].partition(".")[0].replace("-", "_").lower()
    is_traditional = any(part in tag.split("_") for part in ("hant", "tw", "hk", "mo"))
    return CHINESE if tag.split("_")[0] == "zh" and not is_traditional else "en"


def _catalogue() -> gettext.NullTranslations | None:
    if language(os.environ) != CHINESE:
        return None
    os.environ["LANGUAGE"] = CHINESE  # for typer, which asks gettext itself for the words of a help page
    gettext.bindtextdomain(DOMAIN, str(LOCALE))
    gettext.textdomain(DOMAIN)
    return gettext.translation(DOMAIN, LOCALE, [CHINESE], fallback=True)


_chinese = _catalogue()


def is_translated() -> bool:
    """Whether the person reads another language than English."""
    return _chinese is not None


def _(text: str, **values: object) -> str:
    """The text as the person reads it, with its ``{values}`` filled in."""
    said = _chinese.gettext(text) if _chinese and text else text
    return said.format(**values) if values else said


def said(text: str) -> str:
    """What was composed in English (a refusal's parts, a finding), as the person reads it."""
    return phrasebook(CHINESE).say(text) if _chinese else text


def mark(text: str) -> str:
    """Text that stands in the catalogue and is translated where it is printed."""
    return text


def spoken(command: F) -> F:
    """A command whose docstring, which is its help, is in the person's language."""
    if command.__doc__:
        command.__doc__ = _(inspect.cleandoc(command.__doc__))
    return command


def width(text: str) -> int:
    """Columns that a text takes on a terminal: a Chinese character takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def pad(text: str, columns: int) -> str:
    """A text filled up with blanks to so many columns of a terminal."""
    return text + " " * (columns - width(text))
