"""400 MB through the real door to disk, hashed and signed, by the agent's own code: parts of 8 MiB, three at once.

One round of three banks; each sends its update in turn with a bare socket on the loopback interface that writes the same bytes
to disk and one that throws them away. Medians of 3. The clock runs from the first part to the accepted receipt: by then the
portal has held every part and the whole against signed digests, looked at every number, and synced all of it to disk. Before it
starts, as much page cache as the update needs is used once and freed: see decision 0039. Real
agents prepare the run (``fedagent``: plan, statistics) and leave before they train; memory is what portal and sender grew
while one update passed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import stage
from benchmarks.memory import peak_kib, processor_s
from benchmarks.orchestration import WITHOUT, write_table

BANKS = ("bank-1", "bank-2", "bank-3")
HIDDEN = [8192, 8192, 3968]
"""With some thirty inputs 99.9 million parameters."""
SETTINGS = ["model.family=mlp", f"model.hidden={HIDDEN}", "schedule.rounds=1", "training.epochs=0", *WITHOUT]
CHUNK = 1 << 20
BEGIN_S = 120.0
TARGET, BARE = 300, 980
Figures = dict[str, float]


def run() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "figures.json"
        stage.on_scratch("benchmarks.upload", "hold", str(out))
        rows: list[Figures] = json.loads(out.read_text())
    typical = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    size = typical["bytes"] / 1e6
    rates = {key: size / typical[key] for key in ("door_s", "parts_s", "disk_s", "socket_s")}
    yield f"through the door     {rates['door_s']:6.0f} MB/s   {size:.0f} MB (target {TARGET} where a bare socket reaches {BARE})"
    yield f"  its parts alone    {rates['parts_s']:6.0f} MB/s   the rest, {typical['door_s'] - typical['parts_s']:.2f} s, judges the whole"
    yield f"bare socket to disk  {rates['disk_s']:6.0f} MB/s"
    yield f"bare socket          {rates['socket_s']:6.0f} MB/s"
    yield f"ratio to disk        {rates['door_s'] / rates['disk_s']:6.2f}        (target {TARGET / BARE:.2f})"
    yield f"processor            {typical['portal_s']:6.2f} s in the portal, {typical['sender_s']:.2f} s in the sender"
    yield f"memory grew by       {typical['portal_mib']:6.0f} MiB in the portal, {typical['sender_mib']:.0f} MiB in the sender"


# ------------------------------------------------------------------------ the portal's side
def _hold(out: Path) -> None:
    """In a process on a scratch folder: portal, banks, an open round, and one update after the other."""
    stage.set_up()
    from rounds.rehearsal import processes
    from rounds.rehearsal.federation import started

    folder = stage.folder()
    with processes.ended_by_signals(), started(folder, port=0, with_torch=False) as (portal, host):
        banks = _open_round(folder, portal, host)
        out.write_text(json.dumps([_measure(bank.home, portal.pid, folder) for bank in banks]))


def _open_round(folder: Path, portal: Any, host: Any) -> list[Any]:
    """The banks of a run whose first round is open, with no agent of theirs running any more."""
    from rounds.lifecycle import RunState
    from rounds.rehearsal import planning, tools
    from rounds.rehearsal.banks import remembered
    from rounds.rehearsal.faults import Fault
    from rounds.rehearsal.federation import assemble

    about = ["--data", str(write_table(folder)), "--label", "bad"]
    parts = tools.run_json("split", *about, "--banks", str(len(BANKS)), "--seed", "0", "--out", str(folder / "tables"))
    banks = remembered(parts, folder)
    draft = tools.run("draft", *about, "--participants", ",".join(BANKS), "--project", "upload")
    plan = planning.finished(planning.read_yaml(draft, source="the draft"), seed=0, settings=SETTINGS)
    portal.wait()
    federation = assemble(
        portal, host, banks, project="upload", email="administrator@rehearsal.example", password=secrets.token_urlsafe(16),
        say=lambda text: None, injected=[Fault(bank, "all", "pulled", "drop") for bank in BANKS],
    )
    run = federation.propose(plan, project_name="Upload")
    federation.agents.start()
    until = time.monotonic() + BEGIN_S
    while run.state != RunState.RUNNING:
        federation.agents.look(0.05)
        run.refresh_from_db()
        if federation.agents.gone or run.reason or time.monotonic() > until:
            raise RuntimeError(f"the run did not begin: {federation.agents.gone or run.reason or run.state}")
    host.stop()
    return banks


def _measure(home: Path, portal: int, folder: Path) -> Figures:
    before, used = stage.forget_peak(portal), processor_s(portal)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.upload", "send", str(home)], check=True, capture_output=True, text=True, cwd=stage.ROOT
    )
    figures: Figures = json.loads(done.stdout)
    figures |= {"portal_mib": (peak_kib(portal) - before) / 1024, "portal_s": processor_s(portal) - used}
    size = int(figures["bytes"])
    with (folder / "bare.bin").open("wb") as file:
        figures["disk_s"] = _through_a_socket(size, file.write)
    figures["socket_s"] = _through_a_socket(size, len)
    return figures


def _through_a_socket(size: int, take: Callable[[memoryview], object]) -> float:
    """Seconds until ``size`` bytes of another process were received and handed to ``take``."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        sender = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upload", "pour", str(door.getsockname()[1]), str(size)], cwd=stage.ROOT
        )
        connection, _ = door.accept()
        with connection:
            buffer, left = memoryview(bytearray(CHUNK)), size
            began = time.perf_counter()
            while left and (count := connection.recv_into(buffer)):
                take(buffer[:count])
                left -= count
            took = time.perf_counter() - began
        sender.wait()
    if left:
        raise RuntimeError(f"{left} bytes did not come")
    return took


# ------------------------------------------------------------------------ the sender's side
def _pour(port: int, size: int) -> None:
    data = memoryview(np.random.default_rng(0).bytes(CHUNK))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for start in range(0, size, CHUNK):
            connection.sendall(data[: min(CHUNK, size - start)])


def _send(path: Path) -> None:
    """What a bank's agent does with an update that is finished. Prints the figures."""
    from clientagent.home import Home
    from clientagent.portal import Portal
    from clientagent.transport import Transport
    from clientagent.wire.messages import RunManifest, WorkOrder
    from clientagent.wire.weights import layout_of

    home = Home(path)
    portal = Portal(Transport(home.require_identity().portal, home.key), home)
    found = portal.work(wait_s=5)
    assert found
    order = portal.open(found[0].order, WorkOrder)
    manifest = portal.open(portal.manifest(order.run).manifest, RunManifest)
    update = path / "update.safetensors"
    digest = _write_update(update, layout_of(home.require_plan(manifest.plan_hash), manifest.inputs))
    statement = _statement(home, order, manifest, update, digest)
    _touch(path / "touched.bin", update.stat().st_size)
    clock = _Clock()
    before, used = stage.forget_peak(), time.process_time()
    answer = portal.update(statement, update, clock.moved)
    ended, used = time.perf_counter(), time.process_time() - used
    assert answer.receipt.document["outcome"] == "accepted"
    print(json.dumps({
        "bytes": update.stat().st_size, "door_s": ended - clock.began, "parts_s": clock.parts_ended - clock.began,
        "sender_mib": (peak_kib() - before) / 1024, "sender_s": used,
    }))  # fmt: skip


class _Clock:
    """When the first part was about to leave, and when the last one had arrived."""

    began = parts_ended = 0.0

    def moved(self, sent: int, total: int) -> None:
        if sent == 0:
            self.began = time.perf_counter()
        if sent == total:
            self.parts_ended = time.perf_counter()


def _write_update(path: Path, layout: Any) -> str:
    """The digest of an update of random numbers, written piece by piece."""
    rng, digest, left = np.random.default_rng(), hashlib.sha256(), layout.parameters
    with path.open("wb") as file:
        for data in (layout.header, *_pieces(rng, left)):
            file.write(data)
            digest.update(data)
    return digest.hexdigest()


def _touch(path: Path, size: int) -> None:
    """Fill as much of the page cache as the update needs and let it go: a virtual machine's first use of a page asks its host."""
    with path.open("wb") as file:
        for start in range(0, size, CHUNK):
            file.write(bytes(min(CHUNK, size - start)))
    path.unlink()


def _pieces(rng: np.random.Generator, count: int) -> Iterator[bytes]:
    for start in range(0, count, CHUNK):
        yield (1e-3 * rng.standard_normal(min(CHUNK, count - start), np.float32)).tobytes()


def _statement(home: Any, order: Any, manifest: Any, update: Path, digest: str) -> Any:
    from clientagent.wire.messages import Environment, UpdateManifest
    from clientagent.wire.signing import sign_document

    size = update.stat().st_size
    own = next(entry for entry in manifest.roster if entry.institution == order.institution)
    return sign_document(UpdateManifest(
        run=order.run, manifest_digest=order.manifest_digest, round=order.round, attempt=order.attempt,
        base_number=order.base_number, base_digest=order.base_digest, institution=order.institution,
        agent_id=home.require_identity().agent_id, update_digest=digest, update_bytes=size, plain_bytes=size, rows=own.rows,
        norm=1.0, steps=0, train_loss=None, training_s=0.0,
        environment=Environment(agent_version="1", python="3", numpy=np.__version__),
    ), home.key)  # fmt: skip


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "hold":
        _hold(Path(rest[0]))
    elif what == "send":
        _send(Path(rest[0]))
    else:
        _pour(int(rest[0]), int(rest[1]))
