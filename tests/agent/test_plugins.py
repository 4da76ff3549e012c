"""A bank's own module, pinned by the hash of its source: the operator's page's example trains; anything else is refused with its reason."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from clientagent import plugins
from clientagent.cli import app
from clientagent.evaluation.scores import score
from clientagent.plugins import build, installed, problem_with, require_installed, tensors_of
from clientagent.training.local import train
from clientagent.wire.errors import PlanUnsupported, TensorsMismatch
from clientagent.wire.messages import Decision, UpdateManifest
from clientagent.wire.signing import parse
from clientagent.wire.weights import initial_weights, layout_of
from tests.agent.given import one_bank_plan, run_agent, write_table
from tests.agent.installing import put
from tests.agent.private import private_plan, some_rows

ROOT = Path(__file__).resolve().parents[2]


def module_of(body: str, scores: str = "self.layer(rows).squeeze(-1)") -> str:
    return (
        "import torch\nfrom torch import nn\n\nclass Model(nn.Module):\n    def __init__(self, inputs):\n        super().__init__()\n"
        f"        {body}\n\n    def forward(self, rows):\n        return {scores}\n"
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that Python looks into for installed packages. What was loaded from it is forgotten with the test."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(plugins, "_loaded", {})
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]


def plan_for(plugin: plugins.Plugin, **changes):
    return one_bank_plan(model={"family": plugin.family, "tensors": tensors_of(plugin)}, **changes)


def the(name: str) -> plugins.Plugin:
    return next(plugin for plugin in installed() if plugin.name == name)


LINE = "self.layer = nn.Linear(inputs, 1)"


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """The operator's page's package, installed by pip into a folder of its own."""
    page = (ROOT / "docs/operator.md").read_text(encoding="utf-8")
    section = page[page.index("## A model of your own"):]
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for language, name in (("toml", "pyproject.toml"), ("python", "ourbank_models.py")):
        found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
        assert found
        (source / name).write_text(found[1])
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target),
         str(source)], check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return target


def fedagent(example: Path, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "clientagent", *argv], env={**os.environ, "PYTHONPATH": str(example)}, cwd=ROOT, capture_output=True,
        text=True, timeout=60, check=True,
    )
    return done.stdout


def test_the_pages_example_trains_a_run_and_scores_customers(example, monkeypatch, serve, bank, tmp_path):
    section = json.loads(fedagent(example, "plans", "plugins", "wide", "--json"))
    assert {tensor["name"]: tensor["shape"] for tensor in section["tensors"]}["deep.0.weight"] == [8, "inputs"]
    monkeypatch.syspath_prepend(str(example))
    portal = serve(model=section, training__epochs=2, training__batch_size=16)
    home = bank(portal)
    run_agent(home)
    assert portal.stage == "done"
    manifest = parse(UpdateManifest, next(one for one in portal.statements if one.document["type"] == "update_manifest").document)
    assert manifest.norm > 0
    assert manifest.environment.torch
    assert portal.layout.shapes["deep.0.weight"][0] == 8
    table = write_table(tmp_path / "new.csv", rows=20, seed=5)
    out = tmp_path / "scores.csv"
    done = CliRunner().invoke(app, ["predict", str(table), "--out", str(out), "--home", str(home.path)])
    assert done.exit_code == 0, done.output
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert len({row["probability"] for row in rows}) > 5
    assert {row["reason_1"] for row in rows} - {""}


def test_the_hash_is_what_sha256sum_prints_of_the_files(example):
    lines = hashlib.sha256((example / "ourbank_models.py").read_bytes()).hexdigest() + "  ourbank_models.py\n"
    listed = json.loads(fedagent(example, "plans", "plugins", "--json"))
    assert [one["hash"] for one in listed] == [hashlib.sha256(lines.encode()).hexdigest()]
    assert listed[0]["package"] == "ourbank-models 1.0"
    command = re.search(r"^find -L .*$", (ROOT / "docs/operator.md").read_text(), re.MULTILINE)
    assert command
    shown = subprocess.run(command[0], shell=True, cwd=example, capture_output=True, text=True, check=True).stdout
    assert shown.split()[0] == listed[0]["hash"]


def test_every_file_of_a_package_counts_and_caches_do_not(site):
    package = site / "ours"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text(module_of(LINE))
    hashes = [plugins.source_hash("ours")]
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "x.pyc").write_bytes(b"1")
    assert plugins.source_hash("ours") == hashes[0]
    for path in ("deep/table.bin", "deep/other.py"):
        (package / path).write_bytes(b"1")
        hashes.append(plugins.source_hash("ours"))
    assert len(set(hashes)) == 3


def test_a_plugin_of_linear_layers_scores_and_trains_as_numpy_says(site):
    put(site, "line", module_of(LINE))
    plan = plan_for(the("line"), training__epochs=1, training__optimiser="sgd", training__batch_size=400, training__learning_rate=1.0)
    inputs = some_rows()
    base = initial_weights(plan, 5)
    tensors = layout_of(plan, 5).unflatten(base)
    expected = inputs.matrix @ tensors["layer.weight"][0]
    np.testing.assert_allclose(score(plan, base, inputs.matrix), expected, rtol=1e-5, atol=1e-6)
    update = train(plan, base, inputs, round_number=1, seed=3).update
    slope = ((1 / (1 + np.exp(-expected)) - inputs.labels) @ inputs.matrix) / len(inputs.labels)
    np.testing.assert_allclose(layout_of(plan, 5).unflatten(update)["layer.weight"][0], -slope, rtol=1e-3, atol=1e-6)
    assert train(plan, base, inputs, round_number=1, seed=3).update.tobytes() == update.tobytes()


def test_record_privacy_takes_the_general_path_where_the_module_allows_it(site):
    pytest.importorskip("opacus")
    from clientagent.privacy.catalogue import gradients_of
    from clientagent.wire.privacy.stream import Stream

    put(site, "line", module_of(LINE))
    plan = private_plan(model={"family": the("line").family, "tensors": tensors_of(the("line"))})
    assert problem_with(plan) is None
    inputs = some_rows()
    found = gradients_of(plan, inputs=5, features=5)(
        initial_weights(plan, 5), inputs.matrix, inputs.labels.astype(np.float32), clip=0.01, stream=Stream(bytes(32))
    )
    assert found.clipped > 300
    assert np.linalg.norm(found.total) <= 0.01 * 400


REFUSED = {
    "not installed": (module_of(LINE), lambda plan: plan.update(family="other@" + "0" * 64), PlanUnsupported, "no plugin of this name"),
    "other hash": (module_of(LINE), lambda plan: plan.update(family="ours@" + "0" * 64), PlanUnsupported, "has the hash 0000"),
    "other shape": (module_of(LINE), lambda plan: plan["tensors"][0].update(shape=[2, "inputs"]), TensorsMismatch, "layer.weight[2, 7]"),
    "a tensor too few": (module_of(LINE), lambda plan: plan["tensors"].pop(), TensorsMismatch, "layer.bias[1]"),
    "a class a row": (module_of("self.layer = nn.Linear(inputs, 2)", "self.layer(rows)"), None, PlanUnsupported, "(2, 2)"),
    "records that see each other": (
        module_of("self.layer = nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, 1))"),
        lambda plan: plan.update(tensors=[{"name": "x", "shape": [1], "start": "ones"}]), PlanUnsupported, "running_mean",
    ),
    "no module": ("def Model(inputs):\n    return inputs\n", lambda plan: plan.update(tensors=[]), PlanUnsupported, "got int"),
    "a fault of its own": ("def Model(inputs):\n    return 1 / 0\n", lambda plan: plan.update(tensors=[]), PlanUnsupported, "ZeroDivision"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_the_plans_module_is_refused_with_the_reason(site, why):
    source, change, error, word = REFUSED[why]
    put(site, "ours", source)
    model = {"family": the("ours").family, "tensors": [{"name": "layer.weight", "shape": [1, "inputs"]},
                                                        {"name": "layer.bias", "shape": [1], "start": "zeros"}]}  # fmt: skip
    if why == "a class a row":
        model["tensors"] = tensors_of(the("ours"))
    if change:
        change(model)
    plan = one_bank_plan(model=model)
    with pytest.raises(error) as refusal:
        build(plan, 7)
    assert word in refusal.value.sentence
    assert problem_with(plan) is not None


def test_an_agent_refuses_a_plan_whose_plugin_is_another_and_says_so_to_the_portal(site, serve, bank):
    put(site, "ours", module_of(LINE))
    portal = serve(model={"family": "ours@" + "0" * 64, "tensors": tensors_of(the("ours"))})
    run_agent(bank(portal))
    words = [parse(Decision, one.document) for one in portal.statements if one.document["type"] == "decision"]
    assert [word.decision for word in words] == ["refused"]
    assert the("ours").hash in words[0].reason
    assert portal.stage != "done"


def test_nothing_of_a_plugin_with_another_hash_is_imported(site):
    put(site, "ours", "raise SystemExit('it ran')\n")
    with pytest.raises(PlanUnsupported):
        require_installed(one_bank_plan(model__family="ours@" + "0" * 64))
    assert problem_with(one_bank_plan(model__family="ours@" + "0" * 64)) is not None
    assert "ours" not in sys.modules


def test_a_process_that_runs_older_source_says_restart(site):
    put(site, "ours", module_of(LINE))
    build(plan_for(the("ours")), 3)
    old = plan_for(the("ours"))
    put(site, "ours", module_of(LINE) + "# changed\n")
    with pytest.raises(PlanUnsupported):
        build(old, 3)
    new = old.model_copy(update={"model": old.model.model_copy(update={"family": the("ours").family})})
    with pytest.raises(PlanUnsupported) as refusal:
        build(new, 3)
    assert "Restart" in refusal.value.action


def test_cached_bytecode_is_not_run(site):
    put(site, "ours", module_of(LINE))
    import py_compile

    evil = site / "evil.py"
    evil.write_text("raise SystemExit('bytecode ran')\n")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    cached = Path(py_compile.compile(str(evil), cfile=str(site / "evil.pyc"), invalidation_mode=mode, doraise=True) or "")
    folder = site / "__pycache__"
    folder.mkdir(exist_ok=True)
    (folder / f"ours.{sys.implementation.cache_tag}.pyc").write_bytes(cached.read_bytes())
    build(plan_for(the("ours")), 3)


def test_a_plugin_that_fails_on_rows_is_refused_without_its_words(site):
    put(site, "ours", module_of(LINE, "self.layer(rows).squeeze(-1) if len(rows) == 2 else self.secret(rows.tolist())"))
    plan = plan_for(the("ours"), training__epochs=1)
    with pytest.raises(PlanUnsupported) as refusal:
        train(plan, initial_weights(plan, 5), some_rows(), round_number=1, seed=1)
    assert refusal.value.got == "AttributeError"


def test_check_and_doctor_say_whether_the_plans_plugin_is_here(site, tmp_path, serve, bank):
    put(site, "ours", module_of(LINE))
    plan, table = tmp_path / "plan.json", write_table(tmp_path / "table.csv")
    said = {}
    for family in (the("ours").family, "ours@" + "0" * 64):
        document = one_bank_plan(model={"family": family, "tensors": tensors_of(the("ours"))}).model_dump(mode="json")
        plan.write_text(json.dumps(document))
        said[family] = CliRunner().invoke(app, ["check", "--plan", str(plan), "--data", str(table), "--home", str(tmp_path)])
    good, bad = said.values()
    assert good.exit_code == 0, good.output
    assert the("ours").family in good.output
    assert bad.exit_code == 1
    assert the("ours").hash in bad.output
    hops = CliRunner().invoke(app, ["doctor", "--home", str(bank(serve()).path)])
    assert the("ours").family in hops.output
