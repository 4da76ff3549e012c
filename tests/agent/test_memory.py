"""A bank's own vectors belong to the update with which they were made, and count once the portal says that it was used."""

from __future__ import annotations

import numpy as np
import pytest

from clientagent.training.memory import Memory, own_layout
from clientagent.wire.errors import OwnStateLost, Truncated
from clientagent.wire.plan import STRATEGIES
from clientagent.wire.tensors import Layout
from tests.wire.given import a_plan

CONTROL = Layout({"control": (3,)})
FIRST, SECOND, THIRD = "a" * 64, "b" * 64, "c" * 64


def control(*values: float) -> dict[str, np.ndarray]:
    return {"control": np.array(values, np.float32)}


def test_before_the_first_used_update_there_is_nothing(tmp_path):
    memory = Memory(tmp_path / "own", CONTROL)
    assert memory.recall(None) == {}
    memory.keep(FIRST, 1, control(1, 2, 3))
    assert memory.recall(None) == {}


def test_a_round_starts_from_the_vectors_of_the_update_that_was_used(tmp_path):
    memory = Memory(tmp_path / "own", CONTROL)
    memory.keep(FIRST, 1, control(1, 2, 3))
    memory.keep(SECOND, 2, control(4, 5, 6))  # came late: not used
    assert memory.recall(FIRST)["control"].tolist() == [1, 2, 3]
    assert Memory(tmp_path / "own", CONTROL).recall(SECOND)["control"].tolist() == [4, 5, 6]


def test_a_second_attempt_at_a_round_keeps_its_own(tmp_path):
    memory = Memory(tmp_path / "own", CONTROL)
    memory.keep(FIRST, 1, control(1, 1, 1))
    memory.keep(SECOND, 1, control(2, 2, 2))
    assert memory.recall(FIRST)["control"].tolist() == [1, 1, 1]
    assert memory.recall(SECOND)["control"].tolist() == [2, 2, 2]


def test_what_lies_before_the_used_update_is_dropped(tmp_path):
    memory = Memory(tmp_path / "own", CONTROL)
    for number, digest in enumerate((FIRST, SECOND, THIRD), start=1):
        memory.keep(digest, number, control(number, 0, 0))
    memory.recall(SECOND)
    assert len(list((tmp_path / "own").iterdir())) == 2
    assert memory.recall(THIRD)["control"].tolist() == [3, 0, 0]


def test_control_variates_that_are_gone_are_said_to_be_gone(tmp_path):
    with pytest.raises(OwnStateLost):
        Memory(tmp_path / "own", CONTROL).recall(FIRST)


def test_a_residual_or_a_personal_model_can_begin_anew(tmp_path):
    for name in ("residual", "personal"):
        assert Memory(tmp_path / "own", Layout({name: (3,)})).recall(FIRST) == {}


def test_a_file_that_was_cut_off_is_not_read_as_zeros(tmp_path):
    memory = Memory(tmp_path / "own", CONTROL)
    memory.keep(FIRST, 1, control(1, 2, 3))
    path = next((tmp_path / "own").iterdir())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Truncated):
        memory.recall(FIRST)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_a_plan_makes_a_bank_keep(name):
    plan = a_plan(strategy__name=name, compression__codec="topk")
    own = {"scaffold": "control", "feddyn": "gradient", "ditto": "personal"}.get(name)
    expected = {"residual": (70,)} | ({own: (50,)} if own else {})
    layout = own_layout(plan, 50, 70)
    assert layout is not None
    assert layout.shapes == expected
    assert (own_layout(a_plan(strategy__name=name), 50, 70) is None) == (own is None)
