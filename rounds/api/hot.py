"""The hot path as plain views: the long poll, updates, parts, progress and downloads."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from audit.context import speak_of
from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import BaseUnavailable, Malformed, NotFound, Refusal
from clientagent.wire.http import declared_digest
from clientagent.wire.messages import Progress, ReceiptAnswer, UploadState, WorkAnswer
from clientagent.wire.signing import Signed, parse
from institutions.authentication import AgentIdentity, agent_view, chunks_of
from rounds import blobs, crashing, deltas, live, services
from rounds.api.framing import split_body
from rounds.models import ModelVersion, Receipt, Upload
from rounds.selectors.heads import head_update
from rounds.selectors.work import parameters_of, state_for, version_for, work_for
from rounds.services.cohorts import find_cohort
from rounds.services.updates import Whole, check_bytes, check_manifest, find_participation, open_manifest, repeated

MAX_WAIT_S = 25.0
LINGER_S = 0.2
LOOK_ANYWAY_S = {True: 8.0, False: 20.0}
"""A waiting request looks at the database again after this long even without a hint: sooner where hints may be lost on the way."""


@require_GET
@agent_view
async def work(request: HttpRequest) -> HttpResponse:
    """The next piece of work, the moment there is one. No database connection is held while waiting."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    until = time.monotonic() + _wait_s(request)
    with live.waiting_for_work(identity.institution_slug) as event:
        while True:
            event.clear()
            answer = await sync_to_async(next_work)(identity)
            left = until - time.monotonic()
            if answer is not None:
                crashing.reached("answer:work")
                return _json(answer)
            if left <= 0:
                return HttpResponse(status=204)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(left, LOOK_ANYWAY_S[live.may_lose_hints()]))


def next_work(identity: AgentIdentity) -> WorkAnswer | None:
    """What waits for this agent; in an async run a free agent takes a new slot."""
    answer = work_for(identity)
    if answer is None and services.take_slot(identity=identity):
        answer = work_for(identity)
    return answer


def _wait_s(request: HttpRequest) -> float:
    text = request.GET.get("wait", "0")
    try:
        wait = float(text)
    except ValueError as error:
        raise Malformed(expected="wait in seconds", got=text[:20]) from error
    return min(max(wait, 0.0), MAX_WAIT_S) if wait == wait else 0.0


@require_POST
@agent_view
async def updates(request: HttpRequest) -> HttpResponse:
    """An update that fits one request: manifest, counts and bytes together; the answer may carry the next work.

    In sync mode it is held back for a moment: the last bank's update closes the round, and then every bank that still waits
    here has its next order without asking.
    """
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    with live.waiting_for_work(identity.institution_slug) as event:
        receipt, statement, waits_for_others = await sync_to_async(_accept)(identity, request.body)
        if waits_for_others:
            await _lingered(event)
    look_ahead = event.is_set() or not waits_for_others
    return await sync_to_async(answer_with)(identity, receipt, look_ahead=look_ahead, statement=statement)


def _accept(identity: AgentIdentity, body: bytes) -> tuple[Receipt, Signed, bool]:
    """The receipt, what it answers, and whether the bank's next work waits for other banks' updates."""
    statement, data = split_body(body)
    with refusals_recorded(identity, statement):
        manifest = open_manifest(identity, statement)
        participation = find_participation(identity, manifest.run, manifest.round, manifest.attempt)
        receipt = repeated(identity, statement, manifest, participation)
        if receipt is None:
            check_manifest(participation, manifest)
            services.take_update_statement(identity=identity, participation=participation, manifest=manifest)
            with blobs.writing(limit=manifest.update_bytes) as writer:
                writer.write(data)
                checked = check_bytes(participation.round.run, manifest, Whole(writer.temporary, writer.digest))
                writer.keep(expected=manifest.update_digest)
            crashing.reached("update:kept")
            receipt = services.accept_update(
                identity=identity, participation=participation, statement=statement, manifest=manifest, checked=checked
            )
    return receipt, statement, not participation.round.run.is_async


@require_POST
@agent_view
async def ready(request: HttpRequest) -> HttpResponse:
    """A bank has trained and waits to be masked; the answer may carry its cohort's first notice."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    with live.waiting_for_work(identity.institution_slug) as event:
        receipt = await sync_to_async(_accept_ready)(identity, request.body)
        called = await _lingered(event)
    return await sync_to_async(answer_with)(identity, receipt, look_ahead=called)


def _accept_ready(identity: AgentIdentity, body: bytes) -> Receipt:
    statement = parse(Signed, parse_json(body))
    with refusals_recorded(identity, statement):
        return services.accept_ready(identity=identity, statement=statement)


@require_POST
@agent_view
async def cohort_messages(request: HttpRequest, rid: str) -> HttpResponse:
    """One bank's signed word in a stage of its cohort; the answer is the next work, or 204 when there is none yet.

    Held back for a moment as an update's answer is: the last bank's word ends the stage for all.
    """
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    with live.waiting_for_work(identity.institution_slug) as event:
        await sync_to_async(_hear)(identity, rid, request.body)
        called = await _lingered(event)
    upcoming = await sync_to_async(next_work)(identity) if called else None
    return _json(upcoming) if upcoming else HttpResponse(status=204)


def _hear(identity: AgentIdentity, rid: str, body: bytes) -> None:
    statement = parse(Signed, parse_json(body))
    cohort = find_cohort(identity, rid)
    round_ = cohort.round
    speak_of(run=str(round_.run_id), round=round_.number)
    try:
        services.hear(identity=identity, cohort=cohort, statement=statement)
    except Refusal as refusal:
        services.record_refusal(
            identity=identity, run_id=str(round_.run_id), number=round_.number, attempt=round_.attempt, refusal=refusal
        )
        raise


async def _lingered(event: asyncio.Event) -> bool:
    """Wait a moment for the next work; whether there may be some."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), LINGER_S)
    return event.is_set()


@contextlib.contextmanager
def refusals_recorded(identity: AgentIdentity, statement: Signed):  # type: ignore[no-untyped-def]
    """What is refused to an authenticated agent goes on the ledger and on the page before it is answered."""
    try:
        yield
    except Refusal as refusal:
        document = statement.document
        run_id, number, attempt = document.get("run"), document.get("round"), document.get("attempt")
        if isinstance(run_id, str) and isinstance(number, int) and isinstance(attempt, int):
            services.record_refusal(identity=identity, run_id=run_id, number=number, attempt=attempt, refusal=refusal)
        raise


def answer_with(
    identity: AgentIdentity, receipt: Receipt, *, look_ahead: bool = False, statement: Signed | None = None
) -> JsonResponse:
    """The receipt, the head of its chain, the portal's word on the privacy ledger that the ``statement`` tells of, and the next
    piece of work if there is one already.
    """
    head = head_update(f"run/{receipt.run_id}", identity.seen) if receipt.run_id else None
    upcoming = next_work(identity) if look_ahead else None
    if upcoming is not None and upcoming.order.document.get("run") == str(receipt.run_id):
        upcoming = WorkAnswer(order=upcoming.order)  # the head beside it is of the same chain
    privacy = services.countersigned(identity, statement.document) if statement else None
    crashing.reached("answer:receipt")
    return _json(ReceiptAnswer(receipt=Signed.model_validate(receipt.signed), head=head, privacy=privacy, next=upcoming))


@require_POST
@agent_view
def progress(request: HttpRequest) -> HttpResponse:
    """Where an agent is; not on the ledger."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    services.note_progress(identity=identity, progress=parse(Progress, parse_json(request.body)))
    return HttpResponse(status=204)


@require_http_methods(["PUT"])
@agent_view
async def part(request: HttpRequest, upload_id: str, number: int) -> HttpResponse:
    """One numbered part of an update, written to disk while it comes in."""
    upload = await services.receive_part(
        identity=request.agent_identity, upload_id=str(upload_id), number=number,  # type: ignore[attr-defined]
        chunks=chunks_of(request), digest=declared_digest(request.headers),
    )
    return _json(await sync_to_async(upload_state)(upload))


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
    await sync_to_async(services.note_download)(identity=identity, version=version, size=size)
    headers = {"Content-Length": str(size), "Cache-Control": "private, immutable, max-age=31536000"}
    return StreamingHttpResponse(_parts(blobs.read_file(path)), content_type="application/octet-stream", headers=headers)  # type: ignore[return-value]


def stream_version(request: HttpRequest, version: ModelVersion) -> HttpResponse:
    """The bytes of a version that the caller may see."""
    return stream_blob(request, version.digest, version.bytes)


def stream_blob(request: HttpRequest, digest: str, size: int) -> HttpResponse:
    """Bytes that a row which the caller may see has named."""
    etag = f'"{digest}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, immutable, max-age=31536000"}
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers=headers)
    span = _range(request.headers.get("Range", ""), size)
    if span is None:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    start, end = span
    if (start, end) != (0, size):
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingHttpResponse(
        _chunks(digest, start, end), status=206 if "Content-Range" in headers else 200,
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


def _json(message: WorkAnswer | ReceiptAnswer | UploadState) -> JsonResponse:
    return HttpResponse(message.model_dump_json(), content_type="application/json")  # type: ignore[return-value]
