"""The real server in its own process: it prints where it is, enrols an agent over real HTTP, and stops cleanly."""

from __future__ import annotations

import datetime as dt
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from clientagent.wire.canonical import canonical
from clientagent.wire.http import sign_request
from clientagent.wire.messages import Enrolment, EnrolmentRequest
from clientagent.wire.signing import PrivateKey, PublicKey, open_signed

ROOT = Path(__file__).resolve().parents[2]
SETTING_UP = """
import django; django.setup()
from institutions import services
bank = services.invite_institution(slug="harbour", name="Harbour Bank", by="portal")
print(services.issue_enrolment_code(institution=bank, by="portal").code)
"""


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    data: Path
    env: dict[str, str]

    def stop(self, name: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(name)
        said, _ = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    env = {**os.environ, "FEDPORTAL_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "fedportal.settings"}
    for name in ("DATABASE_URL", "REDIS_URL", "FEDPORTAL_URL"):
        env.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, "manage.py", "serve", "--port", "0"], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert found, process.communicate(timeout=5)
    yield Server(process, found.group(), tmp_path, env)
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_stops_cleanly_while_an_agent_waits(server: Server, name: signal.Signals) -> None:
    assert httpx2.get(f"{server.url}/healthz").json() == {"status": "ok"}
    assert httpx2.get(f"{server.url}/readyz").json() == {"status": "ok"}
    code, said = server.stop(name)
    assert code == 0, said
    assert "Traceback" not in said


def test_secrets_are_made_on_first_start_and_belong_to_the_owner_alone(server: Server) -> None:
    secret = server.data / "keys" / "secret_key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.data / "keys").stat().st_mode) == 0o700


def test_an_agent_enrols_and_asks_where_it_stands_over_real_http(server: Server) -> None:
    made = subprocess.run([sys.executable, "-c", SETTING_UP], cwd=ROOT, env=server.env, capture_output=True, text=True)
    code, key = made.stdout.strip(), PrivateKey.generate()
    body = canonical(EnrolmentRequest(code=code, public_key=key.public.text, name="blade", agent_version="1"))

    def send(method: str, path: str, data: bytes = b"") -> httpx2.Response:
        url = server.url + path
        headers = sign_request(method=method, url=url, body=data, key=key, now=dt.datetime.now(dt.UTC))
        return httpx2.request(method, url, content=data, headers={**headers, "Content-Type": "application/json"})

    answer = send("POST", "/api/v1/enrolments", body)
    assert answer.status_code == 201, answer.text
    root = PublicKey.from_text(answer.json()["document"]["root_key"])
    assert root.fingerprint.startswith(code.split(".")[1])
    enrolment = open_signed(answer.json(), root, Enrolment)
    again = send("GET", f"/api/v1/enrolments/{enrolment.agent_id}")
    assert open_signed(again.json(), root, Enrolment).state == "pending"
    refused = send("GET", "/api/v1/work?wait=0")
    assert (refused.status_code, refused.json()["code"]) == (403, "agent_not_approved")
    assert refused.headers["X-Request-ID"]


def test_a_body_beyond_one_part_is_cut_off_at_the_door(server: Server) -> None:
    chunk = b"x" * 2**20
    declared = httpx2.post(f"{server.url}/api/v1/updates", content=chunk * 10)
    assert (declared.status_code, declared.json()["code"]) == (413, "too_large")
    streamed = httpx2.post(f"{server.url}/api/v1/updates", content=(chunk for _ in range(12)))
    assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")


def test_a_port_that_is_taken_is_said_in_one_line(server: Server) -> None:
    port = server.url.rsplit(":", 1)[1]
    second = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", port], cwd=ROOT, env=server.env, capture_output=True, text=True
    )
    assert second.returncode == 1
    assert "Try --port 0" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_secret_is_made_once_whoever_comes_first(tmp_path: Path) -> None:
    from institutions.secret_file import made_once

    path, barrier, got = tmp_path / "keys" / "one", threading.Barrier(8), []

    def read() -> None:
        barrier.wait()
        got.append(made_once(path, lambda: os.urandom(16)))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["one"]


@pytest.mark.parametrize(
    ("redis", "options", "said"),
    [("redis://127.0.0.1:1/0", [], "--no-worker"), ("", ["--no-worker"], "set REDIS_URL")],
)
def test_a_server_whose_tasks_nobody_would_hear_does_not_start(
    tmp_path: Path, redis: str, options: list[str], said: str
) -> None:
    env = {**os.environ, "FEDPORTAL_DATA_DIR": str(tmp_path), "REDIS_URL": redis}
    ended = subprocess.run(
        [sys.executable, "manage.py", "serve", "--port", "0", *options], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
