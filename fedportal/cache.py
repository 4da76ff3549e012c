"""The cache that processes share: Redis, and this process's own memory while Redis is away, so that nobody is locked out.

Meanwhile limits count in each process, and a nonce is known only to the process that saw it: a request replayed to another
one repeats what was said, and every statement said again gets its first receipt.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

AWAY_S = 1.0
"""After a failure Redis is left alone for this long, so that not every request waits for it to fail again."""

logger = logging.getLogger(__name__)


class SharedCache(RedisCache):
    """Redis while it is there."""

    _again_at = 0.0

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._own = LocMemCache(params.get("KEY_PREFIX") or "own", {"OPTIONS": {"MAX_ENTRIES": 200_000}})

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if time.monotonic() >= SharedCache._again_at:
            try:
                return getattr(super(), name)(*args, **kwargs)
            except RedisError as error:
                SharedCache._again_at = time.monotonic() + AWAY_S
                logger.warning("Redis is away, this process remembers for itself: %s", error)
        return getattr(self._own, name)(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._ask("add", *args, **kwargs))

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._ask("get", *args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._ask("set", *args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._ask("touch", *args, **kwargs))

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._ask("delete", *args, **kwargs))

    def get_many(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(self._ask("get_many", *args, **kwargs))

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._ask("has_key", *args, **kwargs))

    def incr(self, *args: Any, **kwargs: Any) -> int:
        return int(self._ask("incr", *args, **kwargs))

    def set_many(self, *args: Any, **kwargs: Any) -> list[Any]:
        return list(self._ask("set_many", *args, **kwargs))

    def delete_many(self, *args: Any, **kwargs: Any) -> None:
        self._ask("delete_many", *args, **kwargs)

    def clear(self) -> None:
        self._ask("clear")
