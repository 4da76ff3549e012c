"""Strategies and codecs through the agents' real door: what travels beside a version, what is refused, what verifies later."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from audit.models import Entry
from clientagent.history.verify import verify_history
from clientagent.wire.canonical import sha256_hex
from clientagent.wire.codecs import apply_delta
from clientagent.wire.errors import LedgerBroken
from clientagent.wire.plan import STRATEGIES
from clientagent.wire.strategies import server_layout, uplink_layout
from clientagent.wire.tensors import pack, unpack
from clientagent.wire.weights import layout_of
from rounds import services
from rounds.clock import now
from rounds.engine.aggregation import aggregate_round
from rounds.exports.downloads import history
from rounds.models import Blob, ModelVersion, Round, Update
from rounds.services.collection import forget_updates
from rounds.services.updates import layout_for
from rounds.storage import blobs, deltas
from tests.rounds.scripted import Federation, make_federation, streamed

pytestmark = pytest.mark.django_db


@pytest.fixture
def begun(north, south, east, admin):
    def begin(**changes) -> Federation:
        federation = make_federation([north, south, east], admin, **changes)
        federation.begin()
        return federation

    return begin


def replayed(round_: Round) -> tuple[str, str | None]:
    done = aggregate_round(round_, layout_for(round_.run), on_block=lambda share: None)
    return done.digest, done.state_digest


def verified(run) -> None:
    data = json.dumps(history(run)).encode()
    assert verify_history(data).versions == run.versions.count()


QUICK = ("fedprox", "fedadam", "scaffold", "feddyn", "newton", "centred_clipping")
REST = [name for name in STRATEGIES if name not in (*QUICK, "krum", "multikrum")]  # the two need more banks than there are here


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def test_every_strategy_makes_versions_that_replay_to_the_same_digests_and_verify(begun, name):
    federation = begun(strategy={"name": name})
    run = federation.finish()
    assert run.state == "finished", run.reason
    for round_ in run.rounds.filter(state="published").select_related("base", "run__plan", "version"):
        assert replayed(round_) == (round_.version.digest, round_.version.state_id)
        assert round_.aggregation["base_state_digest"] == round_.base.state_id
    verified(run)


@pytest.mark.parametrize("name", ["fedavg", "scaffold"])
def test_a_plugins_run_starts_from_the_plans_tensors_and_its_versions_replay(begun, name):
    tensors = [{"name": "wide.weight", "shape": [4, "inputs"]}, {"name": "scale", "shape": [4], "start": "ones"}]
    federation = begun(strategy={"name": name}, model={"family": "wide@" + "0" * 64, "tensors": tensors})
    run = federation.finish()
    assert run.state == "finished", run.reason
    first = layout_for(run).unflatten(unpack(blobs.path_of(run.versions.get(number=0).digest).read_bytes(), layout_for(run)))
    assert first["scale"].tolist() == [1.0] * 4
    assert first["wide.weight"].shape == (4, run.inputs)
    for round_ in run.rounds.filter(state="published").select_related("base", "run__plan", "version"):
        assert replayed(round_) == (round_.version.digest, round_.version.state_id)
    verified(run)


@pytest.mark.parametrize("codec", [{"codec": "bfloat16"}, {"codec": "int8"}, {"codec": "topk", "share": 0.5}], ids=str)
def test_coded_updates_are_decoded_once_and_their_history_verifies(begun, codec):
    run = begun(strategy={"name": "median"}, compression=codec).finish()
    assert run.state == "finished"
    for update in Update.objects.all():
        assert update.decoded_id not in (None, update.digest)
        assert blobs.path_of(update.decoded_id).stat().st_size == update.plain_bytes
    last = run.rounds.filter(state="published").select_related("base", "run__plan", "version").last()
    assert replayed(last)[0] == last.version.digest
    verified(run)


def test_momenta_belong_to_the_version_and_a_new_attempt_starts_from_the_same(begun, admin):
    federation = begun(strategy={"name": "fedavgm", "momentum": 0.5}, schedule={"rounds": 3})
    run = federation.round(seed=1)
    first = run.versions.get(number=1)
    layout = server_layout("fedavgm", run.parameters)
    momentum = unpack(b"".join(blobs.read(first.state_id)), layout)
    assert run.versions.get(number=0).state_id is None
    services.abandon_round(round_=run.rounds.last(), reason="a disk was full")
    run = federation.round(seed=5)
    entries = run.rounds.get(number=2, state="published").aggregation["entries"]
    updates = [b.difference(run, 5 + i) for i, b in enumerate(federation.banks)]
    by_slug = {bank.slug: update for bank, update in zip(federation.banks, updates, strict=True)}
    mean = sum(entry["weight"] * by_slug[entry["institution"]].astype(np.float64) for entry in entries)
    after = unpack(b"".join(blobs.read(run.versions.get(number=2).state_id)), layout)
    assert np.allclose(after, 0.5 * momentum + mean, atol=1e-6)


def test_scaffolds_banks_get_the_common_control_and_the_name_of_their_last_update_that_counted(begun):
    federation = begun(strategy={"name": "scaffold"})
    first = federation.banks[0].work()
    assert (first["state_digest"], first["aggregated"]) == (None, None)
    run = federation.round(seed=1)
    bank = federation.banks[0]
    order = bank.work()
    update = Update.objects.get(participation__institution=bank.bank.institution)
    assert (order["aggregated"], order["state_digest"]) == (update.digest, run.versions.get(number=1).state_id)
    data = streamed(bank.bank.get(f"/api/v1/models/{run.pk}/1/state"))
    assert sha256_hex(data) == order["state_digest"]
    assert unpack(data, server_layout("scaffold", run.parameters)).any()


def test_the_servers_vectors_go_only_to_banks_on_the_roster_that_train_with_them(begun, outsider):
    run = begun(strategy={"name": "scaffold"}).round()
    assert run.versions.get(number=1).state_id is not None
    assert outsider.get(f"/api/v1/models/{run.pk}/1/state").status_code == 404


def test_momenta_are_not_for_banks(begun):
    federation = begun(strategy={"name": "fedavgm"})
    run = federation.round()
    assert federation.banks[0].bank.get(f"/api/v1/models/{run.pk}/1/state").status_code == 404
    assert federation.banks[0].work()["state_digest"] is None


def test_an_update_that_was_accepted_for_an_abandoned_attempt_is_not_what_a_bank_goes_on_from(begun):
    federation = begun(strategy={"name": "feddyn"})
    federation.banks[0].train(federation.run, seed=1)
    services.abandon_round(round_=federation.run.rounds.last(), reason="too few")
    assert federation.banks[0].work()["aggregated"] is None


def test_whoever_fetches_the_result_learns_which_of_its_updates_was_used_last(begun):
    federation = begun(strategy={"name": "ditto"})
    federation.finish()
    bank = federation.banks[0]
    last = Update.objects.filter(participation__institution=bank.bank.institution).order_by("-received_at").first()
    order = bank.work()
    assert (order["kind"], order["aggregated"]) == ("collect", last.digest)


def test_in_async_mode_a_bank_goes_on_from_what_was_accepted(begun):
    federation = begun(schedule={"mode": "async", "rounds": 4, "buffer": 2}, compression={"codec": "topk", "share": 0.5})
    bank = federation.banks[0]
    assert bank.work()["aggregated"] is None
    bank.train(federation.run, seed=1)
    assert bank.work()["aggregated"] == Update.objects.get().digest


@pytest.mark.parametrize(
    ("strategy", "changes", "code"),
    [
        ("fednova", {"steps": 10_000}, "counts_invalid"),
        ("qfedavg", {"base_loss": None}, "counts_invalid"),
        ("newton", {"base_loss": None}, "counts_invalid"),
        ("fedavg", {"codec": "int8"}, "codec_invalid"),
        ("fedavg", {"plain_bytes": 3}, "tensors_mismatch"),
    ],
)
def test_claims_that_would_move_the_result_are_held_against_the_plan(begun, strategy, changes, code):
    federation = begun(strategy={"name": strategy})
    bank, run = federation.banks[0], federation.run
    answer = bank.send(*bank.update(run, bank.work(), bank.difference(run, 1), **changes))
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_bytes_that_are_no_container_of_the_codec_are_refused(begun):
    federation = begun(compression={"codec": "int8"})
    bank, run = federation.banks[0], federation.run
    good, data = bank.update(run, bank.work(), bank.difference(run, 1))
    spoilt = data[:-1] + bytes([data[-1] ^ 0x80])
    statement, _ = bank.update(run, bank.work(), bank.difference(run, 1), update_digest=sha256_hex(spoilt + b"x"),
                               update_bytes=len(spoilt) + 1)
    answer = bank.send(statement, spoilt + b"x")
    assert answer.json()["code"] in ("codec_invalid", "tensors_mismatch")
    assert not Update.objects.exists()
    assert bank.send(good, data).status_code == 200


def test_a_round_whose_numbers_overflow_is_given_up_and_the_run_pauses_with_the_reason(begun, admin):
    federation = begun(strategy={"name": "fedavgm", "server_learning_rate": 100})
    run = federation.run
    for bank in federation.banks:
        order = bank.work()
        flat = np.full(uplink_layout(bank.plan, run.inputs).parameters, 1e38, np.float32)
        assert bank.send(*bank.update(run, order, flat)).status_code == 200
    run = federation.advance()
    assert run.state == "paused"
    assert "not finite; lower the learning rates" in run.reason
    assert run.rounds.last().state == "abandoned"
    services.resume_run(run=run, user=admin, reason="the banks clip now")
    run = federation.round(seed=1)
    assert run.versions.count() == 2
    verified(federation.finish())


def test_newton_takes_its_last_version_and_has_no_patience(begun):
    run = begun(strategy={"name": "newton"}, schedule={"rounds": 4, "patience": 1}).finish()
    assert run.versions.count() == 5
    assert run.selected.number == 4


def test_what_was_decoded_is_forgotten_with_the_update(begun):
    run = begun(compression={"codec": "int8"}, retention={"updates_days": 0}).finish()
    decoded = set(Update.objects.values_list("decoded_id", flat=True))
    assert None not in decoded
    assert forget_updates(run=run, moment=run.ended_at) == Update.objects.count()
    assert not Update.objects.exclude(decoded=None).exists()
    assert Blob.objects.filter(pk__in=decoded).count() == len(decoded)  # until the grace period is over


@pytest.mark.parametrize(
    ("field", "value"), [("steps", 999), ("base_loss", 0.1), ("share", 0.9), ("rows", 1)], ids=lambda v: str(v)
)
def test_an_aggregation_that_says_something_else_than_its_banks_is_no_history(begun, field, value):
    run = begun(strategy={"name": "qfedavg"}).finish()
    document = history(run)
    assert verify_history(json.dumps(document).encode())
    closed = next(sealed for sealed in document["entries"] if sealed["entry"]["kind"] == "round_closed")
    closed["entry"]["body"]["aggregation"]["entries"][0][field] = value
    with pytest.raises(LedgerBroken):
        verify_history(json.dumps(document).encode())


def test_the_ledger_names_the_servers_vectors(begun):
    run = begun(strategy={"name": "fedadam"}).round()
    body = Entry.objects.filter(chain_id=run.chain, kind="version_published").order_by("seq").last().body
    assert body["state_digest"] == ModelVersion.objects.get(run=run, number=1).state_id
    assert Path(blobs.path_of(body["state_digest"])).exists()
    assert layout_of(run.plan.document, run.inputs).parameters == run.parameters


# ------------------------------------------------------------------------ what goes down
WIDE = {"model": {"family": "mlp", "hidden": [200]}, "compression": {"codec": "topk", "share": 0.01}}


def test_a_version_comes_as_its_difference_to_any_that_the_bank_has(begun):
    federation = begun(**WIDE, schedule={"rounds": 3})
    federation.round(seed=1)
    run = federation.round(seed=5)
    bank, layout = federation.banks[0], layout_for(run)
    for since in (0, 1):
        data = streamed(bank.bank.get(f"/api/v1/models/{run.pk}/2/delta?since={since}"))
        assert len(data) < layout.file_bytes / 4
        base = unpack(b"".join(blobs.read(run.versions.get(number=since).digest)), layout)
        flat = apply_delta(io.BytesIO(data), base)
        assert sha256_hex(pack(flat, layout)) == run.versions.get(number=2).digest


def test_where_a_difference_would_not_pay_the_file_itself_is_named(begun):
    federation = begun()
    run = federation.round(seed=1)
    answer = federation.banks[0].bank.get(f"/api/v1/models/{run.pk}/1/delta?since=0")
    assert (answer.status_code, answer.json()["code"]) == (404, "base_unavailable")


@pytest.mark.parametrize(("since", "status"), [("", 400), ("-1", 400), ("1e3", 400), ("9", 404)])
def test_a_difference_to_no_version_is_refused(begun, since, status):
    federation = begun()
    run = federation.round(seed=1)
    assert federation.banks[0].bank.get(f"/api/v1/models/{run.pk}/1/delta?since={since}").status_code == status


@pytest.mark.parametrize("path", ["2/delta?since=1", "2"])
def test_a_download_goes_on_where_it_broke_and_only_with_the_same_bytes(begun, path):
    federation = begun(**WIDE)
    federation.round(seed=1)
    run, bank = federation.round(seed=2), federation.banks[0].bank

    def ask(**headers):
        return bank.call("GET", f"/api/v1/models/{run.pk}/{path}", headers=headers)

    whole = ask()
    data = streamed(whole)
    rest = ask(Range="bytes=100-", **{"If-Range": whole.headers["ETag"]})
    assert (rest.status_code, streamed(rest)) == (206, data[100:])
    assert rest.headers["Content-Range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    assert streamed(ask(Range="bytes=100-", **{"If-Range": '"another"'})) == data
    assert ask(**{"If-None-Match": whole.headers["ETag"]}).status_code == 304


def test_an_outsider_gets_no_difference(begun, outsider):
    run = begun(**WIDE).round(seed=1)
    assert outsider.get(f"/api/v1/models/{run.pk}/1/delta?since=0").status_code == 404


def test_differences_that_nobody_asks_for_any_more_are_forgotten(begun):
    federation = begun(**WIDE)
    run = federation.round(seed=1)
    streamed(federation.banks[0].bank.get(f"/api/v1/models/{run.pk}/1/delta?since=0"))
    assert len(list(deltas.folder().glob("*"))) >= 1
    services.collect(moment=now() + timedelta(days=2))
    assert not list(deltas.folder().glob("*"))
