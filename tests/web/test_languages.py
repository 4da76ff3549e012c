"""The Chinese catalogue: complete, compiled, and with every placeholder of its English."""

from __future__ import annotations

import gettext
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from clientagent.wire.plan import Plan
from rounds.plan_sentences import SENTENCES

CATALOGUE = Path(__file__).parents[2] / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"
PLACEHOLDER = re.compile(r"%\(\w+\)|\{\w+\}")


def descriptions(schema: dict[str, Any]) -> Iterator[str]:
    for part in (schema, *schema["$defs"].values()):
        for field in part.get("properties", {}).values():
            if "description" in field:
                yield field["description"]


def test_every_sentence_of_the_plans_schema_is_listed_for_translation() -> None:
    assert set(descriptions(Plan.model_json_schema())) == set(SENTENCES)


@pytest.mark.skipif(which("msgfmt") is None, reason="no msgfmt on this machine: apt-get install gettext")
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
