"""A downloaded history, offline: it holds as it is, and whoever changes anything is found out, entry by entry."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from clientagent.history.verify import verify_history
from clientagent.wire.canonical import canonical, digest_of
from clientagent.wire.errors import LedgerBroken, Malformed, PortalKeyMismatch, Refusal, SignatureInvalid
from clientagent.wire.ledger import GENESIS, Entry, seal
from clientagent.wire.messages import Head, RunManifest, UpdateManifest
from clientagent.wire.signing import PrivateKey, parse, sign_document
from tests.agent.given import one_bank_plan, run_agent, write_table
from tests.agent.portal_double import PortalDouble

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A portal whose run of one bank has ended."""
    from clientagent import enrolment
    from clientagent.home import Home
    from tests.agent.given import POLICY

    portal = PortalDouble(one_bank_plan())
    home = Home(tmp_path_factory.mktemp("verify") / "home")
    enrolment.enrol(home, url=portal.url, code=portal.code)
    write_table(home.path / "table.csv")
    home.policy_path.write_text(POLICY)
    run_agent(home)
    yield portal
    portal.close()


@pytest.fixture
def history(told):
    return copy.deepcopy(json.loads(canonical(told.history())))


def verify(history, **options):
    return verify_history(json.dumps(history).encode(), **options)


def reseal(told, history):
    """What a portal could do that rewrites its own ledger: everything sealed and signed anew."""
    previous = GENESIS
    for seq, row in enumerate(history["entries"], 1):
        row["entry"]["seq"] = seq
        previous = row["hash"] = seal(previous, Entry.model_validate(row["entry"]).content_digest)
    head = Head(chain=told.chain, seq=len(history["entries"]), hash=previous, at_utc="2026-01-01T00:00:00Z")
    history["head"] = sign_document(head, told.key).model_dump(mode="json")
    return history


def body(history, kind, which=0):
    return [row["entry"]["body"] for row in history["entries"] if row["entry"]["kind"] == kind][which]


def seq(history, kind, which=0):
    return [row["entry"]["seq"] for row in history["entries"] if row["entry"]["kind"] == kind][which]


def test_a_true_history_holds_and_says_what_it_proves(told, history):
    verified = verify(history, portal_key=told.key.fingerprint)
    assert (verified.rounds, verified.updates, verified.versions) == (2, 2, 3)
    assert verified.banks == ["north"]
    assert verified.remarks == []


@pytest.mark.parametrize("form", [lambda f: f[:32], str.upper, lambda f: " ".join(f[i : i + 4] for i in range(0, 32, 4))])
def test_a_fingerprint_compares_as_people_write_it(told, history, form):
    assert verify(history, portal_key=form(told.key.fingerprint)).portal_key == told.key.fingerprint


def test_another_portals_fingerprint_is_a_refusal(history):
    with pytest.raises(PortalKeyMismatch):
        verify(history, portal_key=PrivateKey.generate().fingerprint)


@pytest.mark.parametrize("short", ["", "00", "abcd 1234"])
def test_a_few_digits_prove_nothing(history, short):
    with pytest.raises(Malformed):
        verify(history, portal_key=short)


@pytest.mark.parametrize("index", range(14))
def test_each_entry_that_is_changed_is_named(history, index):
    entry = history["entries"][index]["entry"]
    entry["body"]["institution"] = "somebody-else"
    with pytest.raises(LedgerBroken, match=rf"entry {index + 1}\b"):
        verify(history)


@pytest.mark.parametrize("change", ["drop", "repeat", "swap", "cut"])
def test_an_entry_taken_out_put_in_or_moved_is_named(history, change):
    entries = history["entries"]
    if change == "drop":
        del entries[4]
    elif change == "repeat":
        entries.insert(5, entries[4])
    elif change == "swap":
        entries[4], entries[5] = entries[5], entries[4]
    else:
        del entries[-1]
    with pytest.raises(LedgerBroken, match="entry"):
        verify(history)


def test_changing_any_byte_is_noticed_or_changes_nothing(history):
    """Bytes that are only space or spelling may change; whatever is read must be the same or be refused."""
    data = bytearray(json.dumps(history).encode())
    rng = random.Random(0)
    for position in rng.sample(range(len(data)), 400):
        altered = bytearray(data)
        altered[position] ^= 1 << rng.randrange(7)
        try:
            same = json.loads(altered) == history
        except ValueError:
            same = False
        if same:
            continue
        with pytest.raises(Refusal):
            verify_history(bytes(altered))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format":"fedportal-history/2"}', b"{" * 100_000])
def test_a_file_that_is_no_history_is_a_refusal(data):
    with pytest.raises(Malformed):
        verify_history(data)


@pytest.mark.parametrize(("field", "value"), [
    ("id", "0"), ("number", 2), ("project", "other"), ("plan_hash", "0" * 64), ("state", "failed"), ("reason", "because"),
    ("best_auc", 0.99),
])  # fmt: skip
def test_the_heading_says_nothing_that_the_entries_do_not(history, field, value):
    history["run"][field] = value
    with pytest.raises(LedgerBroken, match="heading"):
        verify(history)


def test_a_head_of_another_key_is_a_refusal(history):
    history["head"] = sign_document(parse(Head, history["head"]["document"]), PrivateKey.generate()).model_dump(mode="json")
    with pytest.raises(SignatureInvalid):
        verify(history)


def test_another_plan_in_the_file_is_a_refusal(told, history):
    other = PortalDouble(one_bank_plan(schedule__rounds=9))
    other.close()
    other.key = told.key
    history["plan"] = other.history()["plan"]
    with pytest.raises(LedgerBroken, match="plan"):
        verify(history)


def test_a_preprocessing_that_the_manifest_does_not_name_is_a_refusal(history):
    history["preprocessing"]["numeric"][0]["mean"] += 1
    with pytest.raises(LedgerBroken, match="preprocessing"):
        verify(history)
    history["preprocessing"] = None
    with pytest.raises(LedgerBroken, match="preprocessing"):
        verify(history)


def test_a_manifest_left_out_of_the_file_is_missed(history):
    history["manifest"] = None
    with pytest.raises(LedgerBroken, match="manifest"):
        verify(history)


# ------------------------------------------------ a portal that rewrites its own ledger: sealed anew, and still found out
def rewritten(told, history, kind, which=0, **changes):
    body(history, kind, which).update(changes)
    return reseal(told, history), seq(history, kind, which)


@pytest.mark.parametrize(
    ("kind", "which", "changes"),
    [
        ("update_accepted", 0, {"update_digest": "0" * 64}),
        ("update_accepted", 0, {"rows": 1}),
        ("update_accepted", 0, {"institution": "south"}),
        ("update_accepted", 1, {"round": 1}),
        ("round_closed", 0, {"digest": "0" * 64}),
        ("round_closed", 1, {"round": 1}),
        ("version_published", 0, {"digest": "0" * 64}),
        ("version_published", 0, {"parent_digest": "0" * 64}),
        ("version_published", 1, {"parent_digest": "0" * 64}),
        ("version_published", 1, {"aggregation_digest": "0" * 64}),
        ("version_published", 2, {"number": 1}),
        ("version_published", 2, {"number": 7}),
        ("plan_decided", 0, {"decision": "refused"}),
        ("statistics_received", 0, {"rows": 1}),
        ("run_proposed", 0, {"plan_hash": "0" * 64}),
        ("run_finished", 0, {"digest": "0" * 64}),
        ("result_acknowledged", 0, {"digest": "0" * 64}),
        ("manifest_signed", 0, {"manifest": {}}),
    ],
)
def test_a_rewritten_fact_contradicts_another_and_its_entry_is_named(told, history, kind, which, changes):
    altered, number = rewritten(told, history, kind, which, **changes)
    with pytest.raises(LedgerBroken, match=rf"entry {number} \({kind}\)"):
        verify(altered)


def test_an_update_signed_by_a_stranger_is_no_update(told, history):
    statement = body(history, "update_accepted")["manifest"]
    forged = sign_document(parse(UpdateManifest, statement["document"]), PrivateKey.generate())
    altered, number = rewritten(told, history, "update_accepted", manifest=forged.model_dump(mode="json"))
    with pytest.raises(LedgerBroken, match=f"entry {number} "):
        verify(altered)


def test_an_aggregation_of_an_update_that_was_never_accepted_is_found(told, history):
    aggregation = body(history, "round_closed")["aggregation"]
    aggregation["entries"].append({**aggregation["entries"][0], "institution": "south", "weight": 0.0})
    altered, number = rewritten(told, history, "round_closed", digest=digest_of(aggregation))
    with pytest.raises(LedgerBroken, match=rf"entry {number} \(round_closed\).*south"):
        verify(altered)


@pytest.mark.parametrize("change", [{"weight": 0.5}, {"rows": 1}, {"update_digest": "0" * 64}])
def test_an_aggregation_that_weighs_otherwise_is_found(told, history, change):
    aggregation = body(history, "round_closed")["aggregation"]
    aggregation["entries"][0].update(change)
    altered, number = rewritten(told, history, "round_closed", digest=digest_of(aggregation))
    with pytest.raises(LedgerBroken, match=f"entry {number} "):
        verify(altered)


def test_initial_weights_that_nobody_can_compute_are_found(told, history):
    manifest = parse(RunManifest, history["manifest"]["document"]).model_copy(update={"initial_digest": "0" * 64})
    history["manifest"] = sign_document(manifest, told.key).model_dump(mode="json")
    with pytest.raises(LedgerBroken, match="initial weights"):
        verify(history)


def test_a_version_without_its_round_is_found(told, history):
    history["entries"] = [row for row in history["entries"] if row["entry"]["kind"] != "round_closed"]
    with pytest.raises(LedgerBroken, match="version_published"):
        verify(reseal(told, history))


def test_a_run_that_was_only_proposed_verifies():
    portal = PortalDouble(one_bank_plan())
    portal.close()
    verified = verify(json.loads(canonical(portal.history())))
    assert (verified.rounds, verified.banks) == (0, [])


def test_entries_of_a_newer_portal_are_chained_but_not_judged(told, history):
    history["entries"].append({"entry": {**history["entries"][-1]["entry"], "kind": "brand_new", "body": {}}, "hash": "0" * 64})
    assert verify(reseal(told, history)).entries == len(history["entries"])


def test_verifying_imports_neither_the_network_nor_torch(history, tmp_path):
    file = tmp_path / "history.json"
    file.write_text(json.dumps(history))
    code = (
        "import sys; from clientagent.cli import main; sys.argv = ['fedagent', 'verify', sys.argv[1]]\n"
        "try: main()\n"
        "finally: print({'httpx2', 'torch', 'django', 'socketserver'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "set()", done.stdout + done.stderr
