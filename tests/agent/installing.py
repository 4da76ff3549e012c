"""Puts a plugin where Python finds it, as an installer would."""

from __future__ import annotations

from pathlib import Path


def put(folder: Path, name: str, module: str, *, at: str = "Model") -> Path:
    """A module and its entry point, as an installer lays them down."""
    (folder / f"{name}.py").write_text(module)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fedagent.models]\n{name} = {name}:{at}\n")
    return folder
