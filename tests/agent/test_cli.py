"""The bank's command line: results for people and programs, three exit codes, no stack trace at anybody."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from clientagent.cli import main
from clientagent.wire.canonical import canonical
from tests.agent.given import POLICY, one_bank_plan, run_agent, write_table
from tests.agent.portal_double import PortalDouble

ROOT = Path(__file__).parents[2]
COMMANDS = ["enrol", "check", "run", "status", "doctor", "plans", "keys", "predict", "receipts", "leaktest", "verify"]


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def fedagent(*arguments, home=None):
    """The command as the console script runs it, in this process."""
    out, errors, code = io.StringIO(), io.StringIO(), 0
    where = ["--home", str(home.path)] if home else []
    before, sys.argv = sys.argv, ["fedagent", *map(str, arguments), *where]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), errors.getvalue())


def process(*arguments, home=None):
    """The same in a process of its own."""
    where = ["--home", str(home.path)] if home else []
    command = [sys.executable, "-m", "clientagent", *map(str, arguments), *where]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def as_json(*arguments, home=None):
    done = fedagent(*arguments, "--json", home=home)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A home whose one run has ended, and its portal."""
    from clientagent import enrolment
    from clientagent.home import Home

    portal = PortalDouble(one_bank_plan())
    home = Home(tmp_path_factory.mktemp("cli") / "home")
    enrolment.enrol(home, url=portal.url, code=portal.code, name="north-agent")
    write_table(home.path / "table.csv")
    home.policy_path.write_text(POLICY)
    run_agent(home)
    yield home, portal
    portal.close()


def test_help_answers_in_a_blink_and_names_every_command():
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = process("--help")
        times.append(time.monotonic() - started)
    assert done.returncode == 0
    assert all(f"  {command}" in done.stdout for command in COMMANDS)
    assert min(times) < 0.5


def test_help_loads_no_heavy_library():
    code = (
        "import sys; sys.argv = ['fedagent', '--help']; from clientagent.cli import main\n"
        "try: main()\n"
        "finally: print({'torch', 'numpy', 'httpx2', 'pydantic', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    "arguments", [["dance"], ["enrol"], ["run", "--until-idle", "soon"], ["verify"], ["plans", "refuse", "abc"]]
)
def test_wrong_usage_is_exit_code_two(arguments, home):
    done = process(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "run", "status", "doctor", "keys", "receipts"])
def test_a_home_that_is_not_enrolled_is_exit_code_one_and_says_what_to_do(command, home):
    done = (process if command == "run" else fedagent)(command, home=home)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "enrol" in done.stdout + done.stderr or "fedagent check --plan" in done.stderr


def test_a_refusal_tells_a_program_the_same_four_things(home):
    code, problem = as_json("status", home=home)
    assert code == 1
    assert problem["code"] == "not_enrolled"
    assert set(problem) == {"code", "expected", "got", "action"}


def test_enrol_shows_both_fingerprints(home, portal):
    done = fedagent("enrol", portal.url, "--code", portal.code, "--name", "north-agent", home=home)
    assert done.returncode == 0, done.stderr
    from clientagent.wire.signing import short

    assert short(home.key.fingerprint) in done.stdout
    assert short(portal.key.fingerprint) in done.stdout
    code, again = as_json("enrol", portal.url, "--code", portal.code, home=home)
    assert (code, again["code"]) == (1, "illegal_move")


def test_enrol_waits_for_the_administrator(home, portal):
    code, identity = as_json("enrol", portal.url, "--code", portal.code, "--wait", home=home)
    assert (code, identity["state"], identity["institution"]) == (0, "approved", "north")


def test_status_keys_and_receipts_speak_of_what_happened(ended):
    home, portal = ended
    code, status = as_json("status", home=home)
    assert code == 0
    assert (status["running"], status["enrolment"], status["receipts"]) == (False, "approved", 7)
    assert status["runs"] == [{"run": portal.run, "rounds_sent": 2, "last_work": "round 2", "state": "sent", "stopped": ""}]
    assert status["models"] == [f"{portal.run}-2"]
    assert as_json("keys", home=home)[1]["portal"] == portal.key.fingerprint
    code, receipts = as_json("receipts", home=home)
    assert (code, len(receipts), {receipt["problem"] for receipt in receipts}) == (0, 7, {""})


def test_receipts_say_how_much_smaller_the_codec_made_what_left(serve, bank):
    portal = serve(training__epochs=1, compression={"codec": "topk", "share": 0.1}, model={"family": "mlp", "hidden": [40]})
    home = bank(portal)
    run_agent(home)
    assert portal.stage == "done"
    code, receipts = as_json("receipts", home=home)
    updates = [row for row in receipts if row["subject"] == "update"]
    assert (code, {row["codec"] for row in updates}) == (0, {"topk"})
    assert all(0 < row["update_bytes"] < row["plain_bytes"] / 4 and row["norm"] > 0 for row in updates)
    done = fedagent("receipts", home=home)
    assert "times smaller" in " ".join(done.stdout.split())
    assert len(list((home.path / "runs" / portal.run / "own").glob("*"))) >= 1


def test_status_sees_the_running_process(ended):
    home, _ = ended
    with home.locked():
        status = as_json("status", home=home)[1]
    assert (status["running"], status["process"]) == (True, os.getpid())


def test_a_second_agent_in_one_home_is_refused(ended):
    home, _ = ended
    with home.locked():
        done = process("run", home=home)
    assert done.returncode == 1
    assert f"process {os.getpid()}" in done.stderr


def test_plans_are_listed_and_shown(ended):
    home, portal = ended
    code, plans = as_json("plans", home=home)
    assert (code, plans) == (0, as_json("plans", "list", home=home)[1])
    assert (plans[0]["hash"], plans[0]["decision"], plans[0]["by"]) == (portal.plan.hash, "approved", "policy")
    code, shown = as_json("plans", "show", portal.plan.hash[:6], home=home)
    assert shown["plan"] == portal.plan.model_dump(mode="json")
    assert portal.plan.hash in fedagent("plans", "show", portal.plan.hash[:12], home=home).stdout
    assert as_json("plans", "show", "abcdef", home=home)[1]["code"] == "not_found"


def test_approving_by_hand_warns_where_no_table_is_named(bank, portal):
    home = bank(portal)
    home.policy_path.write_text("")
    done = fedagent("plans", "approve", portal.plan.hash, home=home)
    assert done.returncode == 0, done.stderr
    assert "names no table" in done.stdout
    assert home.is_approved(portal.plan.hash)


def test_check_names_column_and_reason(ended, tmp_path):
    home, portal = ended
    code, (result,) = as_json("check", home=home)
    assert (code, result["fits"], result["plan_hash"]) == (0, True, portal.plan.hash)
    table = write_table(tmp_path / "bad.csv", income=["many"] * 200)
    done = fedagent("check", "--data", table, home=home)
    assert done.returncode == 1
    assert "income: 200 values are not numbers" in done.stdout


def test_check_needs_no_enrolment_for_a_plan_in_a_file(home, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(one_bank_plan().model_dump(mode="json")))
    table = write_table(tmp_path / "table.csv")
    done = fedagent("check", "--plan", plan, "--data", table, home=home)
    assert (done.returncode, done.stderr) == (0, "")
    yaml = tmp_path / "plan.yaml"
    yaml.write_text("project: x\nfeatures: []\n")
    done = fedagent("check", "--plan", yaml, "--data", table, home=home)
    assert done.returncode == 1
    assert "plan_invalid" in done.stderr


def test_gains_compares_the_result_with_a_model_of_the_banks_own(ended):
    home, portal = ended
    code, found = as_json("gains", home=home)
    assert (code, found["run"], found["number"]) == (0, portal.run, 2)
    assert found["local"]["loss"] < found["federated"]["loss"]  # the result was rehearsed without training
    assert found["federated_gain"]["low"] <= found["federated_gain"]["value"] <= found["federated_gain"]["high"]
    assert "against the local model" in fedagent("gains", portal.run[:6], home=home).stdout
    assert as_json("gains", "ffff-none", home=home)[1]["code"] == "not_found"


def test_verify_passes_and_fails_by_its_exit_code(ended, tmp_path):
    _, portal = ended
    file = tmp_path / "history.json"
    data = canonical(portal.history())
    file.write_bytes(data)
    done = fedagent("verify", file, "--portal-key", portal.key.fingerprint)
    assert done.returncode == 0, done.stderr
    assert f"The history of run {portal.run} holds" in done.stdout
    file.write_bytes(data.replace(b'"rows":140', b'"rows":141', 1))
    code, problem = as_json("verify", file)
    assert (code, problem["code"]) == (1, "ledger_broken")
    assert as_json("verify", tmp_path / "none.json")[1]["code"] == "machine_error"


def test_an_error_in_the_policy_is_named_and_no_trace_shown(ended):
    home, _ = ended
    text = home.policy_path.read_text()
    home.policy_path.write_text("[accept]\nmax_round = 1\n")
    done = fedagent("check", home=home)
    home.policy_path.write_text(text)
    assert done.returncode == 1
    assert "accept.max_round" in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_are_json_lines_where_asked(bank, portal):
    home = bank(portal)
    done = process("run", "--until-idle", "0", "--log-json", home=home)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 0
    assert {line["institution"] for line in lines} == {"north"}
    assert "round 2: update accepted" in [line["message"] for line in lines]


# ------------------------------------------------------------------------- doctor
def hops(home):
    code, result = as_json("doctor", home=home)
    return code, result["failed"], {hop["name"]: hop["outcome"] for hop in result["hops"]}


def test_doctor_is_content_with_a_healthy_agent(ended):
    home, _ = ended
    code, failed, outcomes = hops(home)
    assert (code, failed) == (0, None)
    assert set(outcomes.values()) <= {"ok", "warning"}
    assert list(outcomes)[:8] == ["home", "DNS", "TCP", "TLS", "portal identity", "authentication", "clock", "version"]


def test_doctor_names_the_first_hop_that_fails(bank, serve):
    portal = serve()
    home = bank(portal)
    portal.state = "pending"
    assert hops(home)[1] == "authentication"
    (home.path / "table.csv").unlink()
    portal.state = "approved"
    assert hops(home)[1] == "data"
    stranger = PortalDouble(portal.plan)
    stranger.agent, stranger.agent_id = portal.agent, portal.agent_id
    identity = home.require_identity()
    agent = home.path / "agent.json"
    agent.write_bytes(canonical(identity.model_copy(update={"portal": stranger.url})))
    assert hops(home)[1] == "portal identity"
    stranger.close()
    code, failed, outcomes = hops(home)
    assert (code, failed, outcomes["TLS"]) == (1, "TCP", "skipped")
    agent.write_bytes(canonical(identity.model_copy(update={"portal": "http://portal.invalid"})))
    assert hops(home)[1] == "DNS"


def test_doctor_notices_a_key_that_others_may_read(bank, portal):
    home = bank(portal)
    home.key_path.chmod(0o644)
    code, failed, outcomes = hops(home)
    assert (code, failed, outcomes["home"]) == (0, None, "warning")

