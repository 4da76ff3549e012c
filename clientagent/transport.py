"""One signed exchange with the portal: sign, send, try again where that can help, turn an error's body into its type.

A request is signed anew each time it is sent (a nonce works once), so retrying is safe for whatever the portal makes
idempotent, and that is everything.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from clientagent import __version__
from clientagent.wire import errors
from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import Malformed, PortalUnreachable, Refusal, TooManyRequests
from clientagent.wire.http import sign_request
from clientagent.wire.messages import Head
from clientagent.wire.signing import PrivateKey

PREFIX = "/api/v1/"
CONNECT_S = 10.0
READ_S = 60.0
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 5.0
LONGEST_BUSY_S = 60.0
UNTRUSTED = "Install the certificate authority of the portal, or of the inspecting proxy, in the system's trust store."
MAX_REDIRECTS = 3
MAX_ANSWER_BYTES = 64 * 2**20

log = logging.getLogger("fedagent.portal")


class Busy(TooManyRequests):
    """HTTP 429, with the time after which to come again."""

    def __init__(self, *, expected: str, got: str, action: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(expected=expected, got=got, action=action)
        self.retry_after_s = retry_after_s


class WrongWay(PortalUnreachable):
    """Whoever answered is not to be spoken to; trying again does not mend it."""


class UnknownRefusal(Refusal):
    """The portal refused with a code that this version does not know."""


_KINDS = {
    kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Refusal)
}  # fmt: skip


def refusal_of(status: int, body: bytes) -> Refusal:
    """The typed error of a 4xx answer; a body that is none of ours (a proxy's page) is an unreachable portal."""
    try:
        problem = parse_json(body)
        code, texts = str(problem["code"]), {name: str(problem.get(name, "")) for name in ("expected", "got", "action")}
    except (Malformed, KeyError):
        text = body[:120].decode(errors="replace")
        return PortalUnreachable(expected="an answer of the portal", got=f"HTTP {status}: {text}")
    kind = _KINDS.get(code)
    if kind is None:
        return UnknownRefusal(**{**texts, "got": f"{code}: {texts['got']}"})
    return kind(**texts)


class Transport:
    """The way to one portal with one key."""

    def __init__(self, url: str, key: PrivateKey, *, patience_s: float = 10.0) -> None:
        self.url = _address(url)
        self.key = key
        self.patience_s = patience_s
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S), headers={"User-Agent": f"fedagent/{__version__}"},
            limits=httpx2.Limits(keepalive_expiry=60),
        )
        self._unfinished: dict[str, Download] = {}

    def close(self) -> None:
        self._client.close()

    def exchange(
        self, method: str, path: str, *, body: bytes = b"", content_type: str = "application/json", seen: Head | None = None,
        headers: Mapping[str, str] | None = None, read_s: float = READ_S, patience_s: float | None = None,
    ) -> httpx2.Response:
        """The answer (2xx). ``path`` is below ``/api/v1/``.

        Connection errors, 5xx and 429 are tried again for ``patience_s`` seconds. Raises the portal's typed refusal,
        or ``PortalUnreachable``.
        """
        patience = self.patience_s if patience_s is None else patience_s
        until, delay = time.monotonic() + patience, FIRST_DELAY_S
        extra = {**(headers or {}), **({"Content-Type": content_type} if body else {})}
        while True:
            try:
                return self._once(method, self.url + PREFIX + path, body, extra, seen, read_s)
            except WrongWay:
                raise
            except (PortalUnreachable, Busy) as error:
                pause = delay * random.uniform(0.5, 1.0)
                if isinstance(error, Busy):
                    pause = max(pause, error.retry_after_s)
                if time.monotonic() + pause > until:
                    raise
                log.debug("%s %s: %s; again in %.1f s", method, path, error, pause)
                time.sleep(pause)
                delay = min(delay * 2, LONGEST_DELAY_S)

    def _once(
        self, method: str, url: str, body: bytes, extra: Mapping[str, str], seen: Head | None, read_s: float
    ) -> httpx2.Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, url, body, extra, seen, read_s)
            if not response.has_redirect_location:
                return _judge(response)
            url = _same_portal(url, response.headers["location"])
        raise WrongWay(expected="an answer", got=f"more than {MAX_REDIRECTS} redirects, last to {url}")

    def _send(
        self, method: str, url: str, body: bytes, extra: Mapping[str, str], seen: Head | None, read_s: float
    ) -> httpx2.Response:
        text = f"{seen.chain};{seen.seq};{seen.hash}" if seen else ""
        now = dt.datetime.now(dt.UTC)
        headers = sign_request(method=method, url=url, body=body, key=self.key, now=now, seen=text)
        timeout = httpx2.Timeout(read_s, connect=CONNECT_S)
        try:
            request = self._client.build_request(
                method, url, content=body or None, headers={**extra, **headers}, timeout=timeout
            )
            return self._client.send(request)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> PortalUnreachable:
        expected, got = f"an answer from {self.url}", f"{type(error).__name__}: {error}"[:300]
        if "CERTIFICATE_VERIFY_FAILED" in got:
            return WrongWay(expected=expected, got=got, action=UNTRUSTED)
        return PortalUnreachable(expected=expected, got=got)

    def download(
        self, path: str, *, most: int, size: int | None = None, seen: Head | None = None, moved: Callable[[int], None] = lambda _: None
    ) -> bytes:
        """The bytes of a file: ``size`` of them, or as many as the portal says, ``most`` at most.

        A broken connection goes on where it broke (Range), and so does the next call for the same file after patience has ended.
        """
        coming = self._unfinished.pop(path, None) or Download(size)
        until, delay = time.monotonic() + self.patience_s, FIRST_DELAY_S
        while not coming.is_whole:
            before = len(coming.data)
            try:
                self._stream(path, coming, most, seen, moved)
            except WrongWay:
                raise
            except PortalUnreachable:
                if len(coming.data) > before:
                    until, delay = time.monotonic() + self.patience_s, FIRST_DELAY_S
                if time.monotonic() + delay > until:
                    self._unfinished = {path: coming}
                    raise
                time.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, LONGEST_DELAY_S)
        return bytes(coming.data)

    def _stream(
        self, path: str, coming: Download, most: int, seen: Head | None, moved: Callable[[int], None]
    ) -> None:
        """Append what one request brings."""
        url = self.url + PREFIX + path
        text = f"{seen.chain};{seen.seq};{seen.hash}" if seen else ""
        headers = sign_request(method="GET", url=url, body=b"", key=self.key, now=dt.datetime.now(dt.UTC), seen=text)
        try:
            with self._client.stream("GET", url, headers={**headers, **coming.headers}) as response:
                if response.status_code not in (200, 206):
                    response.read()
                    _judge(response)
                    raise PortalUnreachable(expected="the file", got=f"HTTP {response.status_code}")
                coming.begin(response)
                for chunk in response.iter_bytes():
                    coming.data += chunk
                    moved(len(coming.data))
                    if len(coming.data) > most:
                        raise Malformed(expected=f"at most {most} bytes", got="more")
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error
        if coming.size is None:
            coming.told = len(coming.data)
        if not coming.is_whole:
            raise PortalUnreachable(expected=f"{coming.size} bytes", got=f"{len(coming.data)} bytes, then the end")


@dataclass
class Download:
    """What has come of a file. ``promised``: its size where it was known before, ``told``: as the portal says; ``etag`` names its bytes."""

    promised: int | None
    told: int | None = None
    data: bytearray = field(default_factory=bytearray)
    etag: str = ""

    @property
    def size(self) -> int | None:
        return self.told if self.promised is None else self.promised

    @property
    def is_whole(self) -> bool:
        return self.size is not None and len(self.data) >= self.size

    @property
    def headers(self) -> dict[str, str]:
        """What asks for the rest, of these bytes and no others."""
        if not self.data:
            return {}
        return {"Range": f"bytes={len(self.data)}-", **({"If-Range": self.etag} if self.etag else {})}

    def begin(self, response: httpx2.Response) -> None:
        """An answer's head: it goes on, or starts over."""
        if response.status_code == 200:
            self.data.clear()
            told = response.headers.get("content-length", "")
            self.told = int(told) if told.isdigit() and "content-encoding" not in response.headers else None
        self.etag = response.headers.get("etag", self.etag)


def _address(text: str) -> str:
    """The portal's address in the one spelling that is signed. Raises ``Malformed``."""
    try:
        url = httpx2.URL(text.strip())
    except httpx2.InvalidURL as error:
        raise Malformed(expected="an address like https://portal.example", got=f"{text[:200]} ({error})") from error
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
        raise Malformed(expected="an address like https://portal.example", got=text[:200])
    return str(url).rstrip("/")


def json_of(response: httpx2.Response) -> dict[str, Any]:
    if len(response.content) > MAX_ANSWER_BYTES:
        raise Malformed(expected=f"at most {MAX_ANSWER_BYTES} bytes", got=f"{len(response.content)} bytes")
    return parse_json(response.content)


def _judge(response: httpx2.Response) -> httpx2.Response:
    if response.is_success:
        return response
    if response.status_code >= 500:
        raise PortalUnreachable(expected="an answer of the portal", got=f"HTTP {response.status_code}")
    error = refusal_of(response.status_code, response.content)
    raise _busy(error, response.headers.get("retry-after", "")) if response.status_code == 429 else error


def _busy(error: Refusal, after: str) -> Busy:
    seconds = min(float(after), LONGEST_BUSY_S) if after.isascii() and after.isdigit() else 0.0
    return Busy(expected=error.expected, got=error.got, action=TooManyRequests.advice, retry_after_s=seconds)


def _same_portal(url: str, location: str) -> str:
    """The redirect's target, if it stays at this portal and does not fall back to plain HTTP."""
    target = urljoin(url, location)
    was, new = urlsplit(url), urlsplit(target)
    if was.hostname != new.hostname or (was.scheme, new.scheme) == ("https", "http"):
        raise WrongWay(
            expected=f"an answer from {was.hostname}", got=f"a redirect to {target[:200]}",
            action="The agent follows no redirect to another host: a proxy or a sign-in page is in between, or the portal moved.",
        )
    return target
