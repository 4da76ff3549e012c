"""The wheel that a bank installs: whole, without Django, and running without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED = """
import importlib, pkgutil, sys

ABSENT = {"django", "rounds", "institutions", "audit", "fedportal", "torch", "pyarrow", "yaml", "plotly", "celery"}

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import clientagent
missing = []
for module in pkgutil.walk_packages(clientagent.__path__, "clientagent."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            missing.append((module.name, error.name))
print(clientagent.__file__)
print(sorted(name for name, reason in missing if reason != "torch"))
"""


def sources(folder: Path) -> set[str]:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    return {path for path in found if not path.startswith(("build/", "dist/"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "clientagent", folder / "source", ignore=ignore)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_every_module_and_its_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {name.removeprefix("clientagent/") for name in names if name.startswith("clientagent/") and name.endswith(".py")}
    assert packed == sources(ROOT / "clientagent")
    assert "clientagent/py.typed" in names
    assert "clientagent/translations/zh_Hans/LC_MESSAGES/fedagent.mo" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_runs_where_there_is_no_django_and_no_torch(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-P", "-c", BLOCKED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    where, missing = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert missing == "[]"


def test_the_console_script_is_the_command_line(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "fedagent = clientagent.cli:main" in archive.read(name).decode()
        metadata = archive.read(name.replace("entry_points.txt", "METADATA")).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert required
    assert not any(word in line.lower() for line in required for word in ("django", "torch", "pyarrow"))
