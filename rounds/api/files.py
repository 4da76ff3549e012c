"""The hot path's bytes as plain views: parts that come in, versions and differences that go out, streamed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_http_methods

from clientagent.wire.errors import BaseUnavailable, Malformed, NotFound
from clientagent.wire.http import declared_digest
from clientagent.wire.messages import UploadState
from institutions.authentication import AgentIdentity, agent_view, chunks_of
from rounds import crashing, services
from rounds.models import ModelVersion, Upload
from rounds.selectors.work import parameters_of, state_for, version_for
from rounds.storage import blobs, deltas


@require_http_methods(["PUT"])
@agent_view
async def part(request: HttpRequest, upload_id: str, number: int) -> HttpResponse:
    """One numbered part of an update, written to disk while it comes in."""
    upload = await services.receive_part(
        identity=request.agent_identity, upload_id=str(upload_id), number=number,  # type: ignore[attr-defined]
        chunks=chunks_of(request), digest=declared_digest(request.headers),
    )
    return JsonResponse((await sync_to_async(upload_state)(upload)).model_dump(mode="json"))


def upload_state(upload: Upload) -> UploadState:
    received = list(upload.parts.order_by("number").values_list("number", flat=True))
    return UploadState(
        id=str(upload.pk), part_bytes=upload.part_bytes, parts=upload.parts_expected, received=received
    )


@require_GET
@agent_view
async def model(request: HttpRequest, run_id: str, number: int) -> HttpResponse:
    """A version's file, streamed, with ETag = digest and Range."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    version = await sync_to_async(version_for)(identity, str(run_id), number)
    if version is None:
        raise NotFound(expected="a version of a run whose roster names this bank", got=f"{run_id}/{number}")
    response = stream_version(request, version)
    if size := int(response.headers.get("Content-Length", 0)):
        await sync_to_async(services.note_download)(identity=identity, version=version, size=size)
    return response


@require_GET
@agent_view
async def state(request: HttpRequest, run_id: str, number: int) -> HttpResponse:
    """The server's vectors that belong to a version and that banks train with, streamed like the version itself."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    version = await sync_to_async(state_for)(identity, str(run_id), number)
    if version is None or version.state is None:
        raise NotFound(expected="a version with vectors that banks train with", got=f"{run_id}/{number}")
    response = stream_blob(request, version.state.digest, version.state.bytes)
    if size := int(response.headers.get("Content-Length", 0)):
        await sync_to_async(services.note_download)(identity=identity, version=version, size=size)
    return response


@require_GET
@agent_view
async def delta(request: HttpRequest, run_id: str, number: int) -> HttpResponse:
    """A version as its difference to the version ``since``; ``BaseUnavailable`` where the file itself serves as well."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    since = request.GET.get("since", "")
    if not (since.isascii() and since.isdigit() and len(since) < 10):
        raise Malformed(expected="since=NUMBER of a version that you have", got=since[:20])
    version = await sync_to_async(version_for)(identity, str(run_id), number)
    base = await sync_to_async(version_for)(identity, str(run_id), int(since))
    if version is None or base is None:
        raise NotFound(expected="two versions of a run whose roster names this bank", got=f"{run_id}/{number} since {since}")
    parameters = await sync_to_async(parameters_of)(version)
    path = await asyncio.to_thread(deltas.between, base.digest, version.digest, parameters=parameters)
    if path is None:
        raise BaseUnavailable(expected="a difference that is smaller than the version", got=f"versions {since} and {number}")
    size = path.stat().st_size

    def read(start: int, end: int) -> AsyncIterator[bytes]:
        return _parts(blobs.read_file(path, start=start, end=end))

    response = _stream(request, f"{base.digest}-{version.digest}-{size}", size, read)
    if sent := int(response.headers.get("Content-Length", 0)):
        await sync_to_async(services.note_download)(identity=identity, version=version, size=sent)
    return response


def stream_version(request: HttpRequest, version: ModelVersion) -> HttpResponse:
    """The bytes of a version that the caller may see."""
    return stream_blob(request, version.digest, version.bytes)


def stream_blob(request: HttpRequest, digest: str, size: int) -> HttpResponse:
    """Bytes that a row which the caller may see has named."""
    return _stream(request, digest, size, lambda start, end: _chunks(digest, start, end))


def _stream(request: HttpRequest, tag: str, size: int, read: Callable[[int, int], AsyncIterator[bytes]]) -> HttpResponse:
    """All bytes, or those that Range asks for; the whole where If-Range names other bytes than these (RFC 9110, 13.1.5)."""
    etag = f'"{tag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, immutable, max-age=31536000"}
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers=headers)
    same = request.headers.get("If-Range", etag) == etag
    span = _range(request.headers.get("Range", "") if same else "", size)
    if span is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    start, end = span
    if (start, end) != (0, size):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingHttpResponse(
        read(start, end), status=206 if "Content-Range" in headers else 200,
        content_type="application/octet-stream", headers={**headers, "Content-Length": str(end - start)},
    )  # type: ignore[return-value]


async def _chunks(digest: str, start: int, end: int) -> AsyncIterator[bytes]:
    async for data in _parts(blobs.read(digest, start=start, end=end)):
        yield data
        crashing.reached("answer:model")


async def _parts(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    while data := await asyncio.to_thread(next, chunks, b""):
        yield data


def _range(header: str, size: int) -> tuple[int, int] | None:
    """[start, end) of a single byte range; the whole for none, None for one that cannot be served (RFC 9110, 14.2)."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not match or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(size, int(last) + 1) if last else size
    return (start, end) if start < end else None
