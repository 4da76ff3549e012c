"""The way to the portal: what is tried again, what is believed, and where no request goes."""

from __future__ import annotations

import json
import os

import pytest

from clientagent.transport import Transport
from clientagent.wire import errors
from clientagent.wire.signing import PrivateKey
from tests.agent.portal_double import PortalDouble, Reply


@pytest.fixture
def way(portal):
    key = PrivateKey.generate()
    portal.agent = key.public
    transport = Transport(portal.url, key, patience_s=3)
    yield transport
    transport.close()


def answers(*replies):
    """These replies in order, then an empty 200."""
    left = list(replies)
    return lambda request: left.pop(0) if left else Reply(200, b"{}")


def test_a_portal_that_restarts_is_asked_again_with_a_new_signature(portal, way):
    portal.intercept = answers(Reply(503), Reply(502), Reply(200, b"{}", cut_after=0))
    assert way.exchange("GET", "work").status_code == 200
    assert len(portal.requests) == 4
    assert len({request.headers["signature"] for request in portal.requests}) == 4


def test_patience_ends(portal, way):
    portal.intercept = lambda request: Reply(503)
    with pytest.raises(errors.PortalUnreachable, match="HTTP 503"):
        way.exchange("GET", "work", patience_s=0.2)


def test_nobody_listening_is_an_unreachable_portal():
    gone = PortalDouble()
    gone.close()
    transport = Transport(gone.url, PrivateKey.generate(), patience_s=0)
    with pytest.raises(errors.PortalUnreachable, match="ConnectError"):
        transport.exchange("GET", "work")
    transport.close()


def test_too_many_requests_are_tried_later(portal, way):
    problem = json.dumps(errors.TooManyRequests(expected="fewer").problem()).encode()
    portal.intercept = answers(Reply(429, problem, {"Retry-After": "0"}))
    assert way.exchange("GET", "work").status_code == 200
    portal.intercept = lambda request: Reply(429, problem, {"Retry-After": "60"})
    with pytest.raises(errors.TooManyRequests) as refusal:
        way.exchange("GET", "work")
    assert refusal.value.retry_after_s == 60


def every_refusal():
    found, new = [], [errors.Refusal]
    while new:
        kind = new.pop()
        found.append(kind)
        new += [one for one in kind.__subclasses__() if one.__module__ == errors.__name__]
    made_here_or_retried = (errors.PortalUnreachable, errors.TooManyRequests)
    return sorted((one for one in found if one not in made_here_or_retried), key=lambda one: one.code)


@pytest.mark.parametrize("kind", every_refusal(), ids=lambda kind: kind.code)
def test_a_refusal_arrives_as_its_type_and_is_not_tried_again(portal, way, kind):
    portal.intercept = lambda request: Reply(422, json.dumps(kind(expected="this", got="that", action="do").problem()).encode())
    with pytest.raises(kind) as refusal:
        way.exchange("POST", "statistics", body=b"{}")
    assert (refusal.value.expected, refusal.value.got, refusal.value.action) == ("this", "that", "do")
    assert len(portal.requests) == 1


def test_a_code_of_a_newer_portal_is_still_a_refusal(portal, way):
    portal.intercept = lambda request: Reply(409, b'{"code":"brand_new","expected":"a","got":"b","action":"upgrade"}')
    with pytest.raises(errors.Refusal, match="brand_new") as refusal:
        way.exchange("GET", "work")
    assert refusal.value.action == "upgrade"


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"", b"[]", b'{"code":"x","code":"y"}', b"\xff"])
def test_a_proxys_page_is_an_unreachable_portal(portal, way, body):
    portal.intercept = lambda request: Reply(403, body)
    with pytest.raises(errors.PortalUnreachable, match="HTTP 403"):
        way.exchange("GET", "work", patience_s=0)


def test_no_redirect_to_another_host_is_followed(portal, way):
    portal.intercept = lambda request: Reply(302, b"", {"Location": "http://localhost:1/steal"})
    with pytest.raises(errors.PortalUnreachable, match="a redirect to http://localhost:1/steal") as refusal:
        way.exchange("GET", "work", patience_s=0)
    assert "no redirect to another host" in refusal.value.action


def test_a_redirect_within_the_portal_is_signed_anew(portal, way):
    portal.intercept = answers(Reply(308, b"", {"Location": "/api/v1/work?wait=0"}))
    assert way.exchange("GET", "old").status_code == 200
    assert [request.path for request in portal.requests] == ["/api/v1/old", "/api/v1/work?wait=0"]


def test_redirects_in_a_circle_end(portal, way):
    portal.intercept = lambda request: Reply(302, b"", {"Location": request.path})
    with pytest.raises(errors.PortalUnreachable, match="redirects"):
        way.exchange("GET", "work", patience_s=0)


def test_a_broken_download_goes_on_where_it_broke(portal, way):
    data = os.urandom(100_000)
    starts = []

    def serve(request):
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        starts.append(start)
        return Reply(206 if start else 200, data[start:], cut_after=40_000)

    portal.intercept = serve
    assert way.download("models/x/1", most=len(data), size=len(data)) == data
    assert len(starts) >= 3
    assert starts == sorted(set(starts))


def test_a_portal_that_ignores_range_sends_the_whole_again(portal, way):
    data = os.urandom(50_000)
    replies = [Reply(200, data, cut_after=20_000), Reply(200, data)]
    portal.intercept = lambda request: replies.pop(0)
    assert way.download("models/x/1", most=len(data), size=len(data)) == data


def resuming(data, etag='"one"', cut_after=40_000, starts=None):
    """A portal that sends a file, at most so many bytes at a time, and the rest where Range and If-Range fit."""

    def serve(request):
        fits = request.headers.get("if-range", etag) == etag
        start = int(request.headers.get("range", "bytes=0-")[6:-1]) if fits else 0
        if starts is not None:
            starts.append(start)
        return Reply(206 if start else 200, data[start:], {"ETag": etag}, cut_after=cut_after)

    return serve


def test_a_file_whose_size_only_the_portal_knows_goes_on_where_it_broke_too(portal, way):
    data, starts = os.urandom(100_000), []
    portal.intercept = resuming(data, starts=starts)
    assert way.download("models/x/2/delta?since=1", most=200_000) == data
    assert len(starts) >= 3
    assert starts == sorted(set(starts))


def test_a_download_that_was_given_up_goes_on_with_the_next_call(portal, way):
    data, starts = os.urandom(100_000), []
    broken = [Reply(200, data, {"ETag": '"one"'}, cut_after=40_000)]
    portal.intercept = lambda request: broken.pop() if broken else Reply(503, b"")
    way.patience_s = 0
    with pytest.raises(errors.PortalUnreachable):
        way.download("models/x/1", most=len(data), size=len(data))
    portal.intercept = resuming(data, cut_after=None, starts=starts)
    assert way.download("models/x/1", most=len(data), size=len(data)) == data
    assert len(starts) == 1
    assert starts[0] > 0


def test_a_file_that_became_another_is_fetched_from_its_beginning(portal, way):
    data = os.urandom(60_000)
    first = [Reply(200, os.urandom(90_000), {"ETag": '"one"'}, cut_after=40_000)]
    then = resuming(data, etag='"two"', cut_after=None)
    portal.intercept = lambda request: first.pop() if first else then(request)
    assert way.download("models/x/2/delta?since=1", most=200_000) == data


def test_a_file_that_does_not_end_is_not_read_to_its_end(portal, way):
    portal.intercept = lambda request: Reply(200, b"x" * 200_000)
    with pytest.raises(errors.Malformed, match="more"):
        way.download("models/x/1", most=1000, size=1000)


def test_an_agent_names_its_version_and_protocol(portal, way):
    portal.intercept = answers()
    way.exchange("GET", "work")
    headers = portal.requests[0].headers
    assert headers["user-agent"].startswith("fedagent/")
    assert headers["fed-protocol"] == "1"
    assert headers["fed-seen"] == "none"
