"""The files of ``deploy/`` are what the programs that read them take, and name no setting that the site does not know."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = (ROOT / "fedportal" / "settings.py").read_text() + (ROOT / "fedportal/management/commands/serve.py").read_text()


def _variables() -> set[str]:
    example = re.findall(r"^([A-Z_]+)=", (DEPLOY / "fedportal.env.example").read_text(), re.MULTILINE)
    web = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]["web"]
    return {*example, *web["environment"]}


@pytest.mark.parametrize("name", sorted(_variables()))
def test_every_variable_is_one_that_the_site_reads_and_the_page_explains(name: str):
    assert f'"{name}"' in SETTINGS
    assert f"`{name}`" in (ROOT / "docs" / "deploy.md").read_text()


def test_every_unit_runs_a_command_that_there_is():
    from django.core.management import get_commands

    for unit in DEPLOY.glob("*.service"):
        command = next(line for line in unit.read_text().splitlines() if line.startswith("ExecStart="))
        if found := re.search(r"manage\.py (\w+)", command):
            assert found[1] in get_commands(), unit.name
        else:
            assert re.search(r"celery -A fedportal (worker|beat)", command), unit.name


def test_nginx_takes_its_file(tmp_path: Path):
    nginx, openssl = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin"), shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed on this machine")
    subject = ["-subj", "/CN=portal.example", "-days", "2"]
    key, chain = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(chain), *subject],
        check=True, capture_output=True,
    )
    (tmp_path / "site.conf").write_text((DEPLOY / "nginx.conf").read_text().replace("/etc/fedportal/tls", str(tmp_path)))
    main = tmp_path / "main.conf"
    main.write_text(f"pid {tmp_path}/pid; error_log {tmp_path}/errors; events {{}} http {{ include {tmp_path}/site.conf; }}\n")
    done = subprocess.run([nginx, "-t", "-c", str(main)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
