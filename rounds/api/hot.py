"""The hot path's words as plain views: the long poll, updates, stages of secure aggregation, progress."""

from __future__ import annotations

import asyncio
import contextlib
import time

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_POST

from audit.context import speak_of
from clientagent.wire.canonical import parse_json
from clientagent.wire.errors import Malformed, Refusal
from clientagent.wire.messages import Progress, ReceiptAnswer, WorkAnswer
from clientagent.wire.signing import Signed, parse
from institutions.authentication import AgentIdentity, agent_view
from rounds import crashing, live, services
from rounds.api.framing import split_body
from rounds.models import Receipt
from rounds.selectors.heads import head_update
from rounds.selectors.work import work_for
from rounds.services.cohorts import find_cohort
from rounds.services.summing import check_vector
from rounds.services.updates import Whole, check_bytes, check_manifest, find_participation, open_manifest, repeated
from rounds.storage import blobs

MAX_WAIT_S = 25.0
LINGER_S = 0.2


@require_GET
@agent_view
async def work(request: HttpRequest) -> HttpResponse:
    """The next piece of work, the moment there is one. No database connection is held while waiting."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    wait_s = _wait_s(request)
    with live.waiting_for_work(identity.institution_slug) as event:
        looks = live.Looks(identity.agent_id, identity.institution_slug)
        until = time.monotonic() + looks.within_s(wait_s)
        while True:
            event.clear()
            if not (wait_s and looks.due_in_s()):
                looks.begin()
                answer = await sync_to_async(next_work)(identity)
                looks.ended(found=answer is not None)
                if answer is not None:
                    crashing.reached("answer:work")
                    return _json(answer)
            left = until - time.monotonic()
            if left <= 0:
                return HttpResponse(status=204)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), min(left, looks.due_in_s()))


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
                checked = check_bytes(participation, manifest, Whole(writer.temporary, writer.digest))
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
    if round_ is None:
        services.hear_statistics(identity=identity, cohort=cohort, statement=statement)
        return
    speak_of(run=str(round_.run_id), round=round_.number)
    try:
        services.hear(identity=identity, cohort=cohort, statement=statement)
    except Refusal as refusal:
        services.record_refusal(
            identity=identity, run_id=str(round_.run_id), number=round_.number, attempt=round_.attempt, refusal=refusal
        )
        raise


@require_POST
@agent_view
async def cohort_vector(request: HttpRequest, rid: str) -> HttpResponse:
    """A bank's masked statistics: the signed document and the words, as an update's body is. The answer carries the receipt."""
    identity: AgentIdentity = request.agent_identity  # type: ignore[attr-defined]
    with live.waiting_for_work(identity.institution_slug) as event:
        receipt = await sync_to_async(_take_vector)(identity, rid, request.body)
        called = await _lingered(event)
    return await sync_to_async(answer_with)(identity, receipt, look_ahead=called)


def _take_vector(identity: AgentIdentity, rid: str, body: bytes) -> Receipt:
    statement, data = split_body(body)
    cohort = find_cohort(identity, rid)
    if cohort.run is None:
        raise Malformed(expected="a cohort that sums statistics", got="one of a round")
    speak_of(run=str(cohort.run_id))
    said = check_vector(identity, cohort, statement, len(data))
    with blobs.writing(limit=4 * said.words) as writer:
        writer.write(data)
        digest = writer.keep(expected=said.digest)
    crashing.reached("update:kept")
    return services.take_vector(identity=identity, cohort=cohort, statement=statement, said=said, digest=digest)


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


def _json(message: WorkAnswer | ReceiptAnswer) -> JsonResponse:
    return HttpResponse(message.model_dump_json(), content_type="application/json")  # type: ignore[return-value]
