"""Which entries the navigation shows to whom."""

from __future__ import annotations

from typing import Any

from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _

from institutions.models import Institution, Role

EVERYONE = (Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR)
MAIN = [
    ("rounds:home", "home", _("Home"), EVERYONE),
    ("rounds:projects", "folder", _("Projects"), EVERYONE),
    ("rounds:runs", "activity", _("Runs"), EVERYONE),
    ("institutions:list", "building-bank", _("Institutions"), (Role.ADMINISTRATOR, Role.AUDITOR)),
    ("institutions:mine", "building-bank", _("My bank"), (Role.OPERATOR,)),
    ("rounds:receipts", "receipt", _("Receipts"), (Role.OPERATOR,)),
    ("institutions:people", "users", _("People"), (Role.ADMINISTRATOR,)),
    ("rounds:privacy", "shield-lock", _("Privacy"), EVERYONE),
    ("rounds:history", "history", _("History"), (Role.ADMINISTRATOR, Role.AUDITOR)),
    ("rounds:ledger", "shield-check", _("Ledger"), (Role.ADMINISTRATOR, Role.AUDITOR)),
]
ACCOUNT = [("account_change_password", "key", _("Change password")), ("mfa_index", "shield-lock", _("Second factor"))]


def navigation_entries(role: str, institution: Institution | None, path: str) -> list[dict[str, Any]]:
    entries = []
    for name, icon, label, roles in MAIN:
        if role in roles and (url := _url(name, institution)):
            entries.append(
                {"url": url, "icon": icon, "label": label, "active": path == url if url == "/" else path.startswith(url)}
            )
    return entries


def account_entries() -> list[dict[str, Any]]:
    return [{"url": url, "icon": icon, "label": label} for name, icon, label in ACCOUNT if (url := _url(name))]


def initials(name: str) -> str:
    """Two letters for the avatar: of the first and last word, or the first two characters of one."""
    words = name.split("@")[0].replace(".", " ").split()
    return (words[0][:2] if len(words) == 1 else words[0][0] + words[-1][0]).upper() if words else "?"


def _url(name: str, institution: Institution | None = None) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return ""
