"""The C library's allocator, told what a server with many threads and large blocks needs."""

from __future__ import annotations

import ctypes
import logging

logger = logging.getLogger(__name__)
ARENA_MAX, ARENAS = -8, 2
"""``M_ARENA_MAX`` of glibc's mallopt(3). Its own default, eight for each processor, keeps what each thread once held."""


def keep_few_arenas() -> None:
    """Hand freed memory back rather than keep it by thread. Elsewhere than on glibc nothing happens."""
    try:
        taken = ctypes.CDLL(None).mallopt(ARENA_MAX, ARENAS)
    except (OSError, AttributeError):
        return
    if not taken:
        logger.debug("the allocator keeps its own number of arenas")
