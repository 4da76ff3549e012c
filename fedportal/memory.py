"""How a server's memory is kept: few arenas in the C library, and full searches for garbage that are short and rare."""

from __future__ import annotations

import ctypes
import gc
import logging

logger = logging.getLogger(__name__)
ARENA_MAX, ARENAS = -8, 2
"""``M_ARENA_MAX`` of glibc's mallopt(3). Its own default, eight for each processor, keeps what each thread once held."""
COLLECTIONS = 5_000, 10, 20
"""Thresholds of ``gc.set_threshold``. Python's own (700, 10, 10) search the whole of a busy portal every few seconds, for a
third of a second with a thousand agents that wait, and everybody waits for that.
"""


def keep_few_arenas() -> None:
    """Hand freed memory back rather than keep it by thread. Elsewhere than on glibc nothing happens."""
    try:
        taken = ctypes.CDLL(None).mallopt(ARENA_MAX, ARENAS)
    except (OSError, AttributeError):
        return
    if not taken:
        logger.debug("the allocator keeps its own number of arenas")


def collect_rarely() -> None:
    """What is loaded by now stays until the end: leave it out of the search for garbage, and search less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)
