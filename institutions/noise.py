"""How much a stranger may knock: refused requests whose sender is unknown are counted by address, and bounded.

Only the cache remembers them. A key that spoke well lately is let through, so that one broken agent behind a bank's
proxy does not silence its neighbours.
"""

from __future__ import annotations

import ipaddress
import logging

from django.core.cache import cache
from django.http import HttpRequest

from clientagent.wire.errors import Refusal, TooManyRequests

logger = logging.getLogger(__name__)

WINDOW_S = 60
KNOCKS_PER_WINDOW = 120
GOOD_KEY_S = 600


def address_of(request: HttpRequest) -> str:
    """The peer's address; an IPv6 network of 64 bits is one neighbour."""
    text = str(request.META.get("REMOTE_ADDR") or "unknown")
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return text[:64]
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False).network_address)


def refuse_noisy(address: str, *, key_id: str = "") -> None:
    """Raises ``TooManyRequests`` for an address that was refused too often in this minute."""
    if int(cache.get(_name(address), 0)) < KNOCKS_PER_WINDOW:
        return
    if key_id and cache.get(f"good-key:{key_id}"):
        return
    raise TooManyRequests(expected=f"fewer than {KNOCKS_PER_WINDOW} refused requests a minute", got="more")


def count_knock(address: str, refusal: Refusal) -> None:
    """One refused request of a stranger."""
    cache.add(_name(address), 0, WINDOW_S)
    try:
        count = cache.incr(_name(address))
    except ValueError:  # it expired between the two
        return
    if count in (1, KNOCKS_PER_WINDOW):
        logger.info("refused %s from %s (%d in this minute)", refusal.code, address, count)


def remember_good_key(key_id: str) -> None:
    cache.set(f"good-key:{key_id}", 1, GOOD_KEY_S)


def _name(address: str) -> str:
    return f"knocks:{address}"
