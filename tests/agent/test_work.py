"""Death and trouble in the middle of work: what was finished is sent again, the same bytes, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from clientagent.faults import VARIABLE, Fault, Faults
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.errors import Malformed
from clientagent.wire.tensors import unpack
from tests.agent.given import run_agent
from tests.agent.portal_double import Reply

ROOT = Path(__file__).parents[2]


def process(home, *options, faults=()):
    """The agent as the bank starts it."""
    environment = {**os.environ, VARIABLE: json.dumps(list(faults))}
    return subprocess.Popen(
        [sys.executable, "-m", "clientagent", "run", "--home", str(home.path), *options],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def is_update(request):
    return request.path.endswith("/updates")


@pytest.mark.parametrize(("phase", "epochs"), [("pulled", 0), ("training", 1), ("uploading", 0)])
def test_an_agent_that_is_killed_goes_on_where_it_was(serve, bank, phase, epochs):
    undisturbed = serve(training__epochs=epochs)
    run_agent(bank(undisturbed))
    expected = sha256_hex(undisturbed.file(2))

    portal = serve(training__epochs=epochs)
    home = bank(portal)
    faults = [{"round": "all", "phase": phase, "action": "kill"}]
    codes = []
    for _ in range(4):
        with process(home, "--until-idle", "0", faults=faults) as agent:
            codes.append(agent.wait(60))
        if codes[-1] == 0:
            break
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert portal.stage == "done"
    assert sha256_hex(portal.file(2)) == expected
    assert len(portal.updates) == 2


def test_a_finished_update_is_sent_again_byte_for_byte(serve, bank):
    """The answer to the update is lost and the agent dies: the restart sends what is on disk, statement and bytes."""
    portal = serve(training__epochs=1)
    home = bank(portal)
    bodies = []

    def lose(request):
        if is_update(request):
            bodies.append(request.body)
            if len(bodies) == 1:
                return Reply(200, b"{}", cut_after=0)
        return None

    portal.intercept = lose
    with process(home, "--until-idle", "0", faults=[{"round": 1, "phase": "training", "action": "kill"}]) as agent:
        agent.wait(60)
    run_agent(home)
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] != bodies[2]
    assert portal.stage == "done"


def test_the_seed_is_on_disk_before_training_and_the_update_before_it_leaves(serve, bank):
    portal = serve(training__epochs=1)
    home = bank(portal)
    with process(home, "--until-idle", "0", faults=[{"round": 1, "phase": "training", "action": "kill"}]) as agent:
        agent.wait(60)
    work = home.run(portal.run).work(1, 1)
    assert work.pinned.work.round == 1
    assert work.manifest is None
    on_disk = []
    portal.intercept = lambda request: on_disk.append(work.update_path.read_bytes()) if is_update(request) else None
    run_agent(home, once=True)
    assert on_disk[0] == portal.updates[0]


def test_a_portal_that_is_away_for_a_while_costs_time_and_nothing_else(portal, bank):
    home = bank(portal)
    left = [3]

    def away(request):
        if is_update(request) and left[0]:
            left[0] -= 1
            return Reply(503)
        return None

    portal.intercept = away
    run_agent(home)
    assert portal.stage == "done"
    assert len(portal.updates) == 2


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_ends_cleanly_when_asked(portal, bank, name):
    home = bank(portal)
    with process(home) as agent:
        while portal.stage != "done":
            time.sleep(0.02)  # the agent is another process: what it did is seen at the portal
        agent.send_signal(name)
        errors = agent.communicate(timeout=20)[1]
        assert agent.returncode == 0
    assert "ended" in errors
    assert "Traceback" not in errors


# ------------------------------------------------------------------------ uploads
BIG = {"model": {"family": "mlp", "hidden": [2048, 1200]}, "schedule__rounds": 1}


def test_a_large_update_travels_in_parts(serve, bank):
    portal = serve(**BIG)
    run_agent(bank(portal))
    assert portal.stage == "done"
    assert len(portal.updates[0]) > 8 * 2**20
    parts = [request for request in portal.requests if request.method == "PUT"]
    assert sorted(len(request.body) for request in parts) == [len(portal.updates[0]) - 8 * 2**20, 8 * 2**20]


def test_only_missing_parts_are_sent_again(serve, bank):
    portal = serve(**BIG)
    home = bank(portal)
    refused = []

    def once(request):
        if request.path.endswith("/complete") and not refused:
            refused.append(request)
            next(iter(portal.uploads.values())).pop(1)
        return None

    portal.intercept = once
    run_agent(home)
    assert portal.stage == "done"
    parts = [request.path.rsplit("/", 1)[1] for request in portal.requests if request.method == "PUT"]
    assert sorted(parts) == ["0", "1", "1"]


def test_a_session_that_the_portal_forgot_is_opened_anew(serve, bank):
    portal = serve(**BIG)
    home = bank(portal)
    forgotten = []

    def forget(request):
        if request.path.endswith("/parts/1") and not forgotten:
            forgotten.append(request)
            portal.uploads.clear()
            portal._upload_of.clear()
        return None

    portal.intercept = forget
    run_agent(home)
    assert portal.stage == "done"


# ------------------------------------------------------------------------- faults
def test_a_flip_sends_the_update_times_minus_ten(serve, bank):
    plain = serve(training__epochs=1, schedule__rounds=1)
    run_agent(bank(plain))
    update = unpack(plain.updates[0], plain.layout)
    portal = serve(training__epochs=1, schedule__rounds=1)
    run_agent(bank(portal), faults=[Fault(round=1, phase="training", action="flip")])
    np.testing.assert_allclose(unpack(portal.updates[0], portal.layout), -10 * update, rtol=1e-6)


def test_a_drop_leaves_the_round_without_a_word(portal, bank):
    home = bank(portal)
    for _ in range(3):
        run_agent(home, once=True, faults=[Fault(round=1, phase="uploading", action="drop")])
    assert portal.updates == []
    assert "work_refused" not in [entry.kind for entry, _ in portal.entries]


def test_a_slow_phase_takes_ten_times_as_long(tmp_path):
    faults = Faults([Fault(round="all", phase="training", action="slow")], tmp_path)
    started = time.monotonic()
    with faults.phase(1, "training"):
        time.sleep(0.03)  # the work whose slowness is measured
    assert time.monotonic() - started >= 0.3


def test_without_the_variable_there_are_no_faults(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    faults = Faults.from_environment(tmp_path)
    with faults.phase(1, "training"):
        assert faults.factor(1) == 1.0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["x", "{}", '[{"round": 1}]', '[{"round": 1, "phase": "lunch", "action": "drop"}]'])
def test_a_fault_that_is_none_is_refused(tmp_path, monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(Malformed, match=VARIABLE):
        Faults.from_environment(tmp_path)
