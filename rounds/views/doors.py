"""What every view here shares: a refusal said to the person who asked, and the way back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect

from clientagent.wire.errors import Refusal
from institutions.saying import refusal_text


def say_refusal(request: HttpRequest, refusal: Refusal) -> None:
    """A typed refusal as a message: what was expected, what came, what to do."""
    messages.error(request, refusal_text(refusal))


def back_on_refusal(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A POST that is refused leads back to where it came from, with the reason."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except Refusal as refusal:
            say_refusal(request, refusal)
            return redirect(_way_back(request))

    return guarded


def _way_back(request: HttpRequest) -> str:
    """Where a refused POST came from: its page, for paths of this site only."""
    path = request.POST.get("back", "")
    return path if path.startswith("/") and not path.startswith("//") and "\\" not in path else "/"
