"""Who computes: a worker's name as a lease carries it, and whether that worker is known to be dead.

A lease that runs out says the same, half a minute later; here a restarted machine knows at once what it lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from pathlib import Path


def owner() -> str:
    """This thread's name: machine, process and thread. A process is its id and the instant that it started."""
    pid = os.getpid()
    return f"{_machine()}:{pid}.{_started(pid)}:{threading.get_ident()}"


def is_lost(name: str) -> bool:
    """Whether the owner's process was on this machine and is gone. Of other machines nothing is known."""
    machine, _, rest = name.partition(":")
    process, _, _ = rest.partition(":")
    pid, _, started = process.partition(".")
    if machine != _machine() or not pid.isdigit():
        return False
    return _started(int(pid)) != started


def _machine() -> str:
    """The host and, where there are several on it, the namespace in which process ids mean anything."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        text = f"{socket.gethostname()}\n{os.readlink('/proc/self/ns/pid')}\n{boot}"
        return f"{socket.gethostname()[:20]}/{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return socket.gethostname()[:29]


def _started(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty for one that is not there."""
    try:  # field 22, counted behind the name in brackets, which may hold anything
        text = Path(f"/proc/{pid}/stat").read_text()
        state, *fields = text[text.rindex(")") + 2 :].split()
        return "" if state == "Z" else fields[18]
    except FileNotFoundError:
        return "" if Path("/proc/self/stat").exists() else _is_there(pid)


def _is_there(pid: int) -> str:
    """Without /proc: whether the process is there is all that can be said."""
    try:
        if os.name != "nt":  # there it would end the process
            os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "0"
