"""A refusal as the reader of a page reads it: whole sentences, in the page's language. Codes and identifiers stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from django.utils.translation import get_language
from django.utils.translation import gettext as _

from clientagent.wire.errors import Refusal
from clientagent.wire.phrases import phrasebook


def said(text: str) -> str:
    """A text that agent or portal composed in English, in the language of the page; a person's own words stay as they are."""
    return phrasebook().say(text) if text and (get_language() or "").startswith("zh") else text


def refusal_text(refusal: Refusal | Mapping[str, str]) -> str:
    """What was expected, what came, what to do: two or three sentences."""
    problem = cast("Mapping[str, str]", refusal.problem() if isinstance(refusal, Refusal) else refusal)
    return " ".join(part for part in [*_found(problem), said(problem.get("action", ""))] if part)


def problem_sentence(problem: Mapping[str, str]) -> str:
    """In one line behind its code."""
    expected, got = problem.get("expected", ""), problem.get("got", "")
    parts = [_("expected %(what)s") % {"what": _bare(expected)}] if expected else []
    parts += [_("got %(what)s") % {"what": _bare(got)}] if got else []
    return ": ".join(part for part in (problem.get("code", ""), ", ".join(parts)) if part)


def _found(problem: Mapping[str, str]) -> list[str]:
    expected, got = problem.get("expected", ""), problem.get("got", "")
    return [
        _("Expected %(what)s.") % {"what": _bare(expected)} if expected else "",
        _("Got %(what)s.") % {"what": _bare(got)} if got else "",
    ]


def _bare(text: str) -> str:
    """Without the stop at its end: the sentence around it has its own."""
    return said(text).rstrip(".。")
