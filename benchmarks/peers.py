"""Where a peer is: in this environment, or in a throwaway one whose Python an environment variable names.

``python -m venv /tmp/flower && /tmp/flower/bin/pip install flwr==1.41.0``, then ``FLOWER_PYTHON=/tmp/flower/bin/python make bench``:
a peer's dependencies are its own, and fedportal's environment stays what the requirement files say.
"""

from __future__ import annotations

import importlib.util
import os
import sys

FLOWER_PYTHON = "FLOWER_PYTHON"
NO_FLOWER = f"flower   not found: install flwr here, or let {FLOWER_PYTHON} name a Python that has it (benchmarks/peers.py)"


def flower_python() -> str | None:
    """The interpreter that can import Flower. None where there is none."""
    if named := os.environ.get(FLOWER_PYTHON):
        return named
    return sys.executable if importlib.util.find_spec("flwr") else None
