"""What a process holds, as Linux tells it; in KiB."""

from __future__ import annotations

from pathlib import Path


def peak_kib(pid: int | str = "self") -> int:
    """The most it ever held. VmHWM, because getrusage hands a parent's peak down to its children."""
    return _field(pid, "VmHWM")


def now_kib(pid: int | str = "self") -> int:
    """What it holds in this moment."""
    return _field(pid, "VmRSS")


def _field(pid: int | str, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
