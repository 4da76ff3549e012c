"""What a refused request gets: the page of its status for people, the problem's JSON for programs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template import loader
from django.utils.cache import patch_vary_headers

from clientagent.wire.errors import NotAllowed, NotFound, Refusal
from institutions.problems import problem_response


def _answer(request: HttpRequest, refusal: Refusal, template: str) -> HttpResponseBase:
    if request.path.startswith("/api/"):
        return problem_response(refusal)
    page = loader.render_to_string(template, {"problem": refusal.problem()}, request)
    response = HttpResponse(page, status=403 if template == "403.html" else 404)
    patch_vary_headers(response, ["Cookie"])
    return response


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _answer(request, NotAllowed(expected="a role that may do this", got="another one"), "403.html")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    return _answer(request, NotFound(expected="something that you may see", got="nothing at this address"), "404.html")


def server_error(request: HttpRequest) -> HttpResponseBase:
    """A fault of ours. No context processor runs: the database may be what is broken."""
    if request.path.startswith("/api/"):
        return JsonResponse(
            {"code": "server_error", "expected": "", "got": "", "action": "Try again; if it stays, tell the administrator."},
            status=500,
        )
    return HttpResponse(loader.get_template("500.html").render(), status=500)
