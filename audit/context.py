"""What a line of the log is about: run, round and institution, said once where it is known and carried by every line after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

about: ContextVar[Mapping[str, object]] = ContextVar("about", default={})  # noqa: B039 - never changed in place


def speak_of(**facts: object) -> None:
    """From here to the end of this request or task."""
    about.set({**about.get(), **facts})


@contextlib.contextmanager
def speaking_of(**facts: object) -> Iterator[None]:
    before = about.set({**about.get(), **facts})
    try:
        yield
    finally:
        about.reset(before)


def forget() -> None:
    """A new request begins: what a thread spoke of before is over."""
    about.set({})
