"""The bank's main road, against a portal with real sockets: from the first notice to the stored result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clientagent.history.verify import verify_history
from clientagent.receipts import audit
from clientagent.wire.canonical import canonical, sha256_hex
from clientagent.wire.messages import UpdateManifest
from clientagent.wire.signing import parse
from clientagent.wire.tensors import pack
from tests.agent.given import run_agent


def kinds(portal):
    return [entry.kind for entry, _ in portal.entries]


def test_the_agent_walks_from_notice_to_stored_result(portal, bank):
    home = bank(portal)
    run_agent(home)
    assert portal.stage == "done"
    assert kinds(portal) == [
        "run_proposed", "plan_decided", "statistics_received", "manifest_signed", "version_published", "update_accepted",
        "round_closed", "version_published", "update_accepted", "round_closed", "version_published", "evaluation_received",
        "run_finished", "result_appraised", "result_acknowledged",
    ]  # fmt: skip
    folder = home.model_folder(portal.run, 2)
    assert sha256_hex((folder / "weights.safetensors").read_bytes()) == sha256_hex(portal.file(2))
    assert {path.name for path in folder.iterdir()} == {
        "weights.safetensors", "preprocessing.json", "plan.json", "manifest.json", "acknowledgement.json", "appraisal.json",
    }  # fmt: skip


@pytest.mark.parametrize("family", ["logistic", "mlp"])
def test_training_changes_the_weights_and_says_how(serve, bank, family):
    portal = serve(training__epochs=2, training__batch_size=16, model={"family": family, "hidden": [4]})
    home = bank(portal)
    run_agent(home)
    manifest = parse(UpdateManifest, next(s for s in portal.statements if s.document["type"] == "update_manifest").document)
    update = portal.versions[1] - portal.versions[0]
    assert manifest.norm == pytest.approx(float(np.linalg.norm(update.astype(np.float64))), rel=1e-6)
    assert manifest.norm > 0
    assert manifest.steps == 2 * -(-manifest.rows // 16)
    assert manifest.train_loss is not None
    assert bool(manifest.environment.torch) == (family == "mlp")


def test_every_version_but_the_first_is_evaluated_with_the_next_update(portal, bank):
    run_agent(bank(portal))
    updates = [parse(UpdateManifest, s.document) for s in portal.statements if s.document["type"] == "update_manifest"]
    assert [update.counts.number if update.counts else None for update in updates] == [None, 1]


def test_two_rehearsals_of_one_plan_give_the_same_bits(serve, bank):
    digests = []
    for _ in range(2):
        portal = serve(training__epochs=1)
        run_agent(bank(portal))
        digests.append(sha256_hex(pack(portal.versions[2], portal.layout)))
    assert digests[0] == digests[1]


def test_every_receipt_verifies_offline_and_a_changed_one_does_not(portal, bank):
    home = bank(portal)
    run_agent(home)
    assert sorted(one.receipt.subject for one in audit(home) if not one.problem) == [
        "acknowledgement", "appraisal", "decision", "evaluation", "statistics", "update", "update",
    ]  # fmt: skip
    path = home.receipt_paths()[0]
    path.write_bytes(path.read_bytes().replace(b'"accepted"', b'"late"'))
    assert [one.id for one in audit(home) if one.problem] == [path.stem]


def test_the_history_of_the_run_verifies(portal, bank):
    run_agent(bank(portal))
    verified = verify_history(canonical(portal.history()), portal_key=portal.key.fingerprint)
    assert (verified.rounds, verified.updates, verified.banks) == (2, 2, ["north"])


def test_the_agent_shows_the_portal_the_last_head_it_saw(portal, bank):
    run_agent(bank(portal))
    last = portal.seen()[-1]
    assert last == f"{portal.chain};{len(portal.entries)};{portal.entries[-1][1]}"


def test_without_epochs_torch_is_never_imported(portal, bank):
    home = bank(portal)
    code = (
        "import sys; from pathlib import Path; from clientagent.home import Home; from tests.agent.given import run_agent; "
        f"run_agent(Home({str(home.path)!r})); print('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
    assert portal.stage == "done"


def test_a_restarted_agent_finds_nothing_to_do_twice(portal, bank):
    home = bank(portal)
    run_agent(home)
    before = len(portal.statements)
    run_agent(home)
    assert len(portal.statements) == before


def test_old_update_bytes_go_but_their_manifests_stay(serve, bank):
    portal = serve(schedule__rounds=6)
    home = bank(portal)
    run_agent(home)
    works = home.run(portal.run).works()
    assert [work.update_path.exists() for work in works] == [False, False, False, True, True, True]
    assert all(work.manifest and work.receipt for work in works)


def test_the_result_is_appraised_before_it_is_acknowledged(serve, bank):
    portal = serve(evaluation__gains=True, evaluation__segment="region", training__epochs=1)
    run_agent(bank(portal))
    found = portal.appraisal
    assert found.training.rows > 0
    assert found.segment == "region"
    assert sum(group.holdout.rows for group in found.groups) == found.gain.rows
    assert found.gain.federated_gain.low <= found.gain.federated_gain.value <= found.gain.federated_gain.high
    assert kinds(portal)[-2:] == ["result_appraised", "result_acknowledged"]
