"""The Chinese catalogue: complete, compiled, and with every placeholder of its English."""

from __future__ import annotations

import gettext
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from clientagent.wire.plan import Plan
from rounds.forms.sentences import SENTENCES

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
HOLD_TEXT = ("audit", "clientagent", "fedportal", "institutions", "locale", "rounds", "templates")
needs_gettext = pytest.mark.skipif(which("msgfmt") is None, reason="no msgfmt on this machine: apt-get install gettext")
PLACEHOLDER = re.compile(r"%\(\w+\)|\{\w+\}")


def descriptions(schema: dict[str, Any]) -> Iterator[str]:
    for part in (schema, *schema["$defs"].values()):
        for field in part.get("properties", {}).values():
            if "description" in field:
                yield field["description"]


def test_every_sentence_of_the_plans_schema_is_listed_for_translation() -> None:
    assert set(descriptions(Plan.model_json_schema())) == set(SENTENCES)


@needs_gettext
def test_no_text_is_missing_from_the_catalogue_and_none_is_stale(tmp_path: Path) -> None:
    for name in HOLD_TEXT:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "cli", "*.egg-info", "build", "dist"))
    shutil.copy(ROOT / "manage.py", tmp_path)
    again = [sys.executable, "manage.py", "makemessages", "-l", "zh_Hans", "--no-obsolete", "--no-location", "--no-wrap"]
    subprocess.run(again, cwd=tmp_path, check=True, capture_output=True)
    fresh = (tmp_path / CATALOGUE.relative_to(ROOT)).read_text()
    assert fresh.splitlines() == CATALOGUE.read_text().splitlines(), "run 'make messages', translate what it adds, then run it again"
    check = ["msgfmt", "--check-format", "--statistics", "-o", "/dev/null", str(CATALOGUE)]
    told = subprocess.run(check, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stderr
    assert not re.search("fuzzy|untranslated", told), told


@needs_gettext
def test_the_compiled_catalogue_is_that_of_the_text(tmp_path: Path) -> None:
    fresh = tmp_path / "django.mo"
    subprocess.run(["msgfmt", "-o", str(fresh), str(CATALOGUE)], check=True, capture_output=True)
    assert fresh.read_bytes() == CATALOGUE.with_suffix(".mo").read_bytes()


def test_translations_keep_the_placeholders_of_their_english() -> None:
    with CATALOGUE.with_suffix(".mo").open("rb") as compiled:
        catalogue = gettext.GNUTranslations(compiled)._catalog  # type: ignore[attr-defined]
    assert len(catalogue) > 900
    wrong = []
    for key, translation in catalogue.items():
        english = key[0] if isinstance(key, tuple) else key
        if not english:
            continue  # the header
        unknown = set(PLACEHOLDER.findall(translation)) - set(PLACEHOLDER.findall(english))
        if unknown and not isinstance(key, tuple):
            wrong.append((english, sorted(unknown)))
    assert wrong == []
