"""The whole of ``deploy/nginx.conf`` at work: TLS at nginx, two web processes behind it, signed agents, parts, and a browser's socket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect

from clientagent.doctor import examine
from rounds.rehearsal.processes import die_with_parent
from tests.crash.scratch import IN_PARTS
from tests.scale.test_many_processes import Scaled
from tests.services import Postgres, Redis, free_port

pytestmark = [pytest.mark.slow, pytest.mark.services]
CONF = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")


class Proxied(Scaled):
    """Agents and the browser know nothing but the proxy's address."""

    def __init__(self, folder: Path, *, database: str, redis: str) -> None:
        self.tls, self.plain = free_port(), free_port()
        published = {"FEDPORTAL_URL": f"https://127.0.0.1:{self.tls}", "BEHIND_PROXY": "true"}
        super().__init__(folder, database=database, redis=redis, settings=published)
        self.url = published["FEDPORTAL_URL"]

    def address_for(self, _: object) -> str:
        return self.url

    def site(self, tls: Path) -> str:
        """The file as it is delivered, but for names, ports and paths."""
        text = CONF.read_text().replace("/etc/fedportal/tls", str(tls)).replace("portal.example", "127.0.0.1")
        text = re.sub(r"^\s*listen \[::\].*$", "", text, flags=re.MULTILINE)
        for old, new in ((":8001", f":{self.port}"), (":8002", f":{self.second}"), ("listen 443", f"listen 127.0.0.1:{self.tls}"),
                         ("listen 80;", f"listen 127.0.0.1:{self.plain};")):  # fmt: skip
            assert old in text
            text = text.replace(old, new)
        return text


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for the loopback address that everybody in this test trusts."""
    openssl = shutil.which("openssl")
    if NGINX is None or openssl is None:
        pytest.skip("nginx or openssl is not installed on this machine")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    key, chain = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(chain), *subject],
        check=True, capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    return tmp_path


@pytest.fixture
def proxied(tls: Path, postgres: Postgres, redis: Redis) -> Iterator[Proxied]:
    assert NGINX
    scratch = Proxied(tls / "scratch", database=postgres.database("proxied"), redis=redis.url)
    main = tls / "main.conf"
    (tls / "site.conf").write_text(scratch.site(tls))
    temporary = "".join(f"{kind}_temp_path {tls}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main.write_text(
        f"daemon off; user {'root' if os.geteuid() == 0 else 'nobody'}; pid {tls}/pid; error_log {tls}/errors; events {{}}\n"
        f"http {{ access_log off; {temporary} include {tls}/site.conf; }}\n"
    )
    nginx = subprocess.Popen([NGINX, "-c", str(main)], preexec_fn=die_with_parent)
    try:
        with closing(scratch):
            scratch.open()
            scratch.browser.headers["Origin"] = scratch.url
            yield scratch
    finally:
        nginx.terminate()
        nginx.wait()


def test_a_run_goes_through_tls_and_two_processes(proxied: Proxied):
    proxied.behave(part_bytes=2048)
    run = proxied.propose(proxied.plan(IN_PARTS, rounds=3))
    shown = asyncio.run(_watched(proxied, run))
    assert len(proxied.finish(run)["versions"]) == 4
    proxied.check_run(run)
    assert {"state", "grid", "events"} <= set(shown["html"])
    outcomes = {hop.name: hop.outcome for hop in examine(proxied.home("north"))}
    assert (outcomes["TLS"], outcomes["portal identity"], outcomes["authentication"]) == ("ok", "ok", "ok")

    url = proxied.url
    assert httpx2.get(f"{url}/metrics").status_code == 404
    plain = httpx2.get(f"http://127.0.0.1:{proxied.plain}/healthz", follow_redirects=False)
    assert (plain.status_code, plain.headers["location"]) == (301, "https://127.0.0.1/healthz")
    part = httpx2.post(f"{url}/api/v1/updates", content=b"x" * (8 * 2**20), timeout=30)
    assert part.json()["code"] == "signature_invalid", "nginx lets a part through; the portal refuses it"
    assert httpx2.post(f"{url}/api/v1/updates", content=b"x" * (10 * 2**20), timeout=30).status_code == 413
    signed_in = proxied.browser.get("/")
    assert signed_in.headers["strict-transport-security"]


async def _watched(proxied: Proxied, run: str) -> dict[str, dict[str, str]]:
    """The first drawing that a browser's socket is sent."""
    cookies = "; ".join(f"{name}={value}" for name, value in proxied.browser.cookies.items())
    address = f"wss://127.0.0.1:{proxied.tls}/ws/runs/{run}/?lang=en"
    trusted = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    until = time.monotonic() + 30
    async with connect(address, ssl=trusted, additional_headers={"Cookie": cookies, "Origin": proxied.url}) as socket:
        while time.monotonic() < until:
            if "html" in (message := json.loads(await socket.recv())):
                return dict(message)
    raise AssertionError("nothing was drawn")
