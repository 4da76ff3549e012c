"""One byte string for one document: canonical JSON (RFC 8785) and its SHA-256. Hashes and signatures are over it."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import rfc8785
from pydantic import BaseModel

from clientagent.wire.errors import Malformed

Json = dict[str, Any]


def canonical(document: BaseModel | Json | list[Any]) -> bytes:
    """The RFC 8785 bytes of a document. Raises ``Malformed`` for NaN, infinity and integers beyond 2**53."""
    plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    try:
        return rfc8785.dumps(plain)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Malformed(expected="finite numbers and text", got=str(error)) from error


def sha256_hex(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(document: BaseModel | Json | list[Any]) -> str:
    """SHA-256 of the canonical bytes, as 64 lower-case hexadecimal digits."""
    return sha256_hex(canonical(document))


def parse_json(data: bytes | str) -> Json:
    """Parse a JSON object; duplicate keys, NaN, infinity and anything but an object are ``Malformed``.

    As in RFC 8785 every number is a double: from 2**53 on, where canonical bytes show no exponent, it is a float.
    """
    try:
        value = json.loads(
            data, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_number, parse_float=_double
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(expected="a JSON object", got=str(error)[:200]) from error
    if not isinstance(value, dict):
        raise Malformed(expected="a JSON object", got=type(value).__name__)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _number(text: str) -> int | float:
    whole = int(text)
    return whole if abs(whole) < 2**53 else _double(text)


def _double(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large")
    return value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
