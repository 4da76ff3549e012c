"""How people come and go with allauth: nobody signs up unasked, and an account without a seat cannot sign in."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest


class ClosedSignup(DefaultAccountAdapter):
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Mail only to people who are members here: no "unknown account" letters to strangers."""
        if template_prefix == "account/email/unknown_account":
            return
        super().send_mail(template_prefix, email, context)
