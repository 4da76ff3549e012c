"""What several pages of this room answer alike: a confirmation with its reason, and the portal's own address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import Promise

from institutions.forms import PlainForm, ReasonForm

Text = str | Promise


def portal_url(request: HttpRequest) -> str:
    """The address for links and commands, without a slash at its end."""
    return settings.FEDPORTAL_URL or request.build_absolute_uri("/").rstrip("/")


def confirm(
    request: HttpRequest, verb: Callable[..., object], *, title: Text, text: Text, button: Text, done: Text, back: str,
    ask_reason: bool = True, tone: str = "danger", **arguments: Any,
) -> HttpResponse:
    """A page that says what will happen and asks for a reason; then the verb, and back with a word."""
    form = (ReasonForm if ask_reason else PlainForm)(request.POST or None)
    if request.method == "POST" and (form.is_valid() or not ask_reason):
        if ask_reason:
            arguments["reason"] = form.cleaned_data["reason"]
        form.run(verb, by=request.user, **arguments)
        if not form.errors:
            messages.success(request, str(done))
            return redirect(back)
    page = {"form": form, "title": title, "text": text, "button": button, "back": back, "tone": tone}
    return render(request, "institutions/confirm.html", page)
