"""What is vendored is what was vetted: digests, versions, and every icon that a page asks for."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs_version

from institutions.words import LOOKS as INSTITUTION_LOOKS
from rounds.selectors.events import SENTENCES
from rounds.words import LOOKS

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "static" / "vendor"
RECORD = json.loads((VENDOR / "VENDORED.json").read_text())


@pytest.mark.parametrize("name", RECORD)
def test_a_vendored_file_has_the_digest_on_record(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == RECORD[name]["sha256"]


def test_nothing_is_vendored_without_a_record() -> None:
    assert {path.name for path in VENDOR.iterdir()} == {*RECORD, "VENDORED.json", "LICENCES.txt"}


def test_each_vendored_package_has_a_licence_text() -> None:
    text = (VENDOR / "LICENCES.txt").read_text()
    assert [item["package"] for item in RECORD.values() if f"==== {item['package']} ====" not in text] == []


def test_versions_are_those_of_package_json() -> None:
    wanted = json.loads((ROOT / "frontend" / "package.json").read_text())["dependencies"]
    assert {item["package"]: item["version"] for item in RECORD.values()} == wanted


def test_no_vendored_file_names_a_source_map() -> None:
    named = [path.name for path in VENDOR.iterdir() if b"sourceMappingURL" in path.read_bytes()]
    assert named == []


def test_figures_are_built_for_the_plotly_that_draws_them() -> None:
    assert RECORD["plotly-basic.min.js"]["version"] == get_plotlyjs_version()


def icons_asked_for() -> set[str]:
    names = set()
    for path in (ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        names |= set(re.findall(r"""{% icon ["']([\w-]+)["']""", text))
        names |= set(re.findall(r"""{% empty [^%]*?["']([a-z][a-z0-9-]*)["'](?: \S+ \S+)? %}""", text))
    names |= {look.icon for table in (LOOKS | INSTITUTION_LOOKS).values() for look in table.values()}
    names |= {icon for _tone, icon, _sentence in SENTENCES.values()}
    for path in (*(ROOT / "rounds").rglob("*.py"), *(ROOT / "fedportal").rglob("*.py")):
        names |= set(re.findall(r"""\b(?:Effect|Need|Group)\(\s*(?:_\("[^"]*"\),\s*)?"([a-z][\w-]+)\"""", path.read_text()))
    return names


def test_every_icon_that_a_page_asks_for_is_in_the_sprite() -> None:
    sprite = set(re.findall(r'<symbol id="([\w-]+)"', (VENDOR / "icons.svg").read_text()))
    assert sorted(icons_asked_for() - sprite) == []
