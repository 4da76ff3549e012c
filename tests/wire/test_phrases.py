"""Refusals said in another language: recognised by the template that made them, with what stood in its places."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clientagent.wire.combinations import require_combinable
from clientagent.wire.errors import BudgetExceeded, PlanInvalid
from clientagent.wire.phrases import SENTENCES, Phrasebook
from tests.wire.given import a_plan

ROOT = Path(__file__).parents[2]
BOOK = Phrasebook({
    "at most {limit} bytes": "最多 {limit} 字节", "at most {limit} bytes in one request": "一次请求最多 {limit} 字节", "none": "无",
    "a reason": "理由", "{slug}: its ledger is locked": "{slug}：其账本已锁定",
    "{code}: expected {expected}, got {got}": "{code}：应为{expected}，得到{got}", "{a}: {b}": "{b} {a}",
    "{n} values": "{n} 个值", "holds no values": "没有值", "{total} with this run, {rest} without it": "加上为 {total}，不加为 {rest}",
    "an epsilon of at most {budget} for {whom}": "{whom} 的 epsilon 不超过 {budget}", "{a} of {b} are needed. ": "需要 {b} 中的 {a}。",
    "epsilon {epsilon:.4g} at delta {delta:g}": "never by a template",
})  # fmt: skip


@pytest.mark.parametrize(("english", "said"), [
    ("a reason", "理由"), ("a reason.", "理由。"), ("at most 8 bytes", "最多 8 字节"),
    ("at most 8 bytes in one request", "一次请求最多 8 字节"), ("age: a reason", "age: 理由"),
    ("too_large: expected at most 8 bytes, got none", "too_large：应为最多 8 字节，得到无"),
    ("north: its ledger is locked; south: its ledger is locked", "north：其账本已锁定; south：其账本已锁定"),
    ("budget_exceeded: expected an epsilon of at most 2 for north, got 8 with this run, 0 without it",
     "budget_exceeded：应为north 的 epsilon 不超过 2，得到加上为 8，不加为 0"),
    ("age: holds no values", "age: 没有值"), ("12 values", "12 个值"), ("old and strange values", "old and strange values"),
    ("3 of 4 are needed. a reason.", "需要 4 中的 3. 理由。"),
    ("The disk was replaced on 3 May.", "The disk was replaced on 3 May."), ("", ""), ("x: y", "x: y"),
])  # fmt: skip
def test_what_a_template_fits_is_said_and_the_rest_stays(english, said):
    assert BOOK.say(english) == said


@given(st.text(max_size=60))
def test_no_text_breaks_it_and_what_stands_in_a_place_is_kept(text):
    assert isinstance(BOOK.say(text), str)
    assert "字节" in BOOK.say(f"at most {len(text)} bytes")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_an_empty_book_changes_nothing(text):
    assert Phrasebook({}).say(text) == text


def listed() -> str:
    return subprocess.run([sys.executable, "locale/agent_messages.py"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_catalogue_lists_what_refusals_are_made_of_on_both_sides():
    texts = listed()
    for text in (
        "an epsilon of at most {budget} for {_whom}", "privacy budgets that hold this run", "{slug} as a whole", *SENTENCES,
        "{strategy} must see each bank's update, and secure aggregation shows only their sum.", "choices that go together: {reasons}",
    ):  # fmt: skip
        assert f'msgid "{text}"' in texts, text


def test_a_refusal_reads_as_one_sentence():
    plan = a_plan(strategy={"name": "newton"}, model={"family": "mlp"})
    with pytest.raises(PlanInvalid) as refused:
        require_combinable(plan)
    assert refused.value.sentence.endswith("this family has no single optimum to solve for, got model.family")
    assert "., " not in refused.value.sentence
    assert BudgetExceeded(expected="less.", got="more.").sentence == "budget_exceeded: expected less, got more"
