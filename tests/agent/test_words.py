"""The command line in Chinese: chosen by the environment, complete, compiled, and English wherever programs read."""

from __future__ import annotations

import gettext
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clientagent.words import LOCALE, VARIABLES, language, pad, width

ROOT = Path(__file__).parents[2]
CATALOGUE = LOCALE / "zh_Hans" / "LC_MESSAGES" / "fedagent.po"
PLACEHOLDER = re.compile(r"%\(\w+\)|\{[^{}]*\}")
HAN = re.compile("[\u4e00-\u9fff]")
needs_gettext = pytest.mark.skipif(shutil.which("msgfmt") is None, reason="no msgfmt on this machine: apt-get install gettext")


def fedagent(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-m", "clientagent", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=clean | environment)


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, "en"), ({"LANG": "C.UTF-8"}, "en"), ({"LANG": "en_GB.UTF-8"}, "en"), ({"LANG": "zh_CN.UTF-8"}, "zh_Hans"),
    ({"LANG": "zh_CN.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"), ({"LANGUAGE": "zh_CN:en"}, "zh_Hans"), ({"LANG": "zh_TW.UTF-8"}, "en"),
    ({"FEDAGENT_LANG": "zh", "LANG": "de_DE"}, "zh_Hans"), ({"FEDAGENT_LANG": "zh-Hans"}, "zh_Hans"),
    ({"FEDAGENT_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
])  # fmt: skip
def test_the_environment_chooses_the_language(environment, expected):
    assert language(environment) == expected


def test_help_and_refusals_are_chinese_for_whoever_reads_chinese(tmp_path):
    shown = fedagent("predict", "--help", LANG="zh_CN.UTF-8")
    assert "用本行持有的模型为客户评分。" in shown.stdout
    assert "The customers to score" not in shown.stdout
    refused = fedagent("status", "--home", tmp_path, FEDAGENT_LANG="zh")
    assert refused.returncode == 1
    assert "not_enrolled" in refused.stderr  # the code is a contract
    assert "请先注册：fedagent enrol URL --code CODE。" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "english"),
    [
        (["verify"], "Missing argument"), (["verify", "--nope"], "No such option"),
        (["run", "--until-idle", "soon"], "Invalid value for"), (["dance"], "No such command"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_told_in_the_same_language(arguments, english):
    told, said = (fedagent(*arguments, FEDAGENT_LANG=one) for one in ("en", "zh"))
    assert (told.returncode, said.returncode) == (2, 2)
    assert english in told.stderr
    assert english not in said.stderr
    assert "Try 'fedagent" not in said.stderr
    assert "Traceback" not in said.stderr


def test_json_is_the_same_in_both_languages(tmp_path):
    english, chinese = (fedagent("status", "--json", "--home", tmp_path, FEDAGENT_LANG=one) for one in ("en", "zh"))
    assert json.loads(english.stdout) == json.loads(chinese.stdout)
    assert not HAN.search(chinese.stdout)


def test_columns_align_where_characters_are_two_wide():
    assert width("项目 a") == 6
    assert pad("项目", 6) == "项目  "


@needs_gettext
def test_no_text_is_missing_from_the_agents_catalogue_and_none_is_stale(tmp_path):
    fresh = tmp_path / "fedagent.po"
    shutil.copy(CATALOGUE, fresh)
    texts = subprocess.run([sys.executable, "locale/agent_messages.py"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["msgmerge", "--quiet", "--update", "--no-wrap", str(fresh), "-"], input=texts, check=True)
    assert fresh.read_text() == CATALOGUE.read_text(), "run 'make messages', translate what it adds, then run it again"
    check = ["msgfmt", "--check-format", "--statistics", "-o", "/dev/null", str(CATALOGUE)]
    told = subprocess.run(check, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stderr
    assert not re.search("fuzzy|untranslated", told), told


@needs_gettext
def test_the_agents_compiled_catalogue_is_that_of_the_text(tmp_path):
    subprocess.run(["msgfmt", "-o", str(tmp_path / "fresh.mo"), str(CATALOGUE)], check=True, capture_output=True)
    assert (tmp_path / "fresh.mo").read_bytes() == CATALOGUE.with_suffix(".mo").read_bytes()


def test_translations_keep_the_placeholders_of_their_english():
    with CATALOGUE.with_suffix(".mo").open("rb") as compiled:
        catalogue = gettext.GNUTranslations(compiled)._catalog
    wrong = [text for text, said in catalogue.items() if text and sorted(PLACEHOLDER.findall(text)) != sorted(PLACEHOLDER.findall(said))]
    assert wrong == []
