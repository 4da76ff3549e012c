"""What a process holds (KiB) and has used of the processor (seconds), as Linux tells it."""

from __future__ import annotations

import os
from pathlib import Path


def peak_kib(pid: int | str = "self") -> int:
    """The most it ever held. VmHWM, because getrusage hands a parent's peak down to its children."""
    return _field(pid, "VmHWM")


def now_kib(pid: int | str = "self") -> int:
    """What it holds in this moment."""
    return _field(pid, "VmRSS")


def processor_s(pid: int | str = "self") -> float:
    """Of all its threads since it began."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _field(pid: int | str, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
