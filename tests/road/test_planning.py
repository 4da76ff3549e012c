"""Which plan a rehearsal runs: the file, fitted to the split, changed by the command line."""

from __future__ import annotations

import pytest

from clientagent.wire.errors import PlanInvalid
from rounds.rehearsal import planning

FILE = {
    "project": "retail-credit",
    "features": [{"name": "income", "kind": "numeric"}, {"name": "region", "kind": "categorical"}],
    "label": {"name": "default", "positive": "CHGOFF"},
    "participants": ["north", "south", "east"],
    "training": {"seed": 3, "epochs": 2},
    "privacy": {"record_dp": None},
}


def finished(*settings: str, seed: int | None = None):
    return planning.finished(FILE, seed=seed, settings=settings)


def test_a_dotted_field_takes_a_yaml_value():
    plan = finished("schedule.rounds=5", "model.hidden=[8, 4]", "training.learning_rate=auto", "label.positive=CHGOFF")
    assert (plan.schedule.rounds, plan.model.hidden, plan.training.epochs) == (5, [8, 4], 2)


def test_a_place_in_a_list_is_a_number():
    assert finished("features.1.kind=numeric").features[1].kind == "numeric"


def test_a_null_object_is_created_with_its_defaults():
    plan = finished("privacy.record_dp.epsilon=1")
    assert (plan.privacy.record_dp.epsilon, plan.privacy.record_dp.delta, plan.privacy.record_dp.clip) == (1.0, "auto", 1.0)


def test_an_object_can_be_set_whole_or_to_nothing():
    plan = finished("privacy.secure_aggregation={threshold: 0.8}", "privacy.record_dp=null")
    assert plan.privacy.secure_aggregation.threshold == 0.8
    assert plan.privacy.record_dp is None


def test_the_last_word_holds():
    assert finished("schedule.rounds=5", "schedule.rounds=6").schedule.rounds == 6


def test_the_seed_beats_the_file_and_set_beats_the_seed():
    assert finished().training.seed == 3
    assert finished(seed=7).training.seed == 7
    assert finished("training.seed=9", seed=7).training.seed == 9


def test_a_value_may_hold_an_equals_sign():
    plan = finished("label.positive=a=b")
    assert plan.label.positive == "a=b"


def test_the_file_itself_stays_as_it_was():
    finished("training.epochs=9", "privacy.record_dp.epsilon=1")
    assert FILE["training"] == {"seed": 3, "epochs": 2}
    assert FILE["privacy"] == {"record_dp": None}


@pytest.mark.parametrize(
    "setting",
    [
        "schedule.rounds", "=5", ".rounds=5", "schedule..rounds=5", "schedule.rounds=[", "schedule.laps=5", "schedule.rounds=0",
        "project.name=x", "features.9.kind=numeric", "features.first.kind=numeric", "training.epochs=many", "",
    ],
)  # fmt: skip
def test_what_is_no_setting_of_a_plan_is_refused(setting):
    with pytest.raises(PlanInvalid):
        finished(setting)


def test_a_file_is_fitted_to_the_split():
    document = planning.adapt(FILE, label="default", positive=None, by="region", participants=["a", "b", "c"])
    plan = planning.finished(document, seed=None, settings=[])
    assert plan.participants == ["a", "b", "c"]
    assert [feature.name for feature in plan.features] == ["income"]
    assert plan.label.positive == "CHGOFF"


def test_the_label_of_the_command_line_beats_that_of_the_file():
    kept = planning.adapt(FILE, label="default", positive="2", by=None, participants=["a"])
    other = planning.adapt(FILE, label="lost", positive=None, by=None, participants=["a"])
    assert kept["label"] == {"name": "default", "positive": "2"}
    assert other["label"] == {"name": "lost"}


@pytest.mark.parametrize("text", ["", "[1, 2]", "just text", "a: [", "a: b: c", "\x00"])
def test_what_is_no_plan_in_yaml_is_refused(text):
    with pytest.raises(PlanInvalid):
        planning.read_yaml(text, source="plan.yaml")


def test_a_plan_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"project: caf\xe9")
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(PlanInvalid, match=path.name):
            planning.read_plan_file(path)


def test_a_plan_survives_its_yaml():
    plan = finished("label.positive=是", "training.learning_rate=0.00001")
    assert planning.finished(planning.read_yaml(planning.as_yaml(plan), source="x"), seed=None, settings=[]).hash == plan.hash
