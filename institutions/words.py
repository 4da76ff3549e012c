"""How each state of institutions, agents and people is shown: one colour, one icon and one word, the same on every page."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Look(NamedTuple):
    """``tone`` is a Tabler colour, ``icon`` a symbol of the sprite."""

    tone: str
    icon: str
    word: str | Promise


GOOD, BUSY, CALM, CARE, BAD = "green", "blue", "secondary", "orange", "red"

LOOKS: dict[str, dict[str, Look]] = {
    "institution": {
        "invited": Look(CARE, "mail", _("Invited")),
        "active": Look(GOOD, "circle-check", _("Active")),
        "suspended": Look(BAD, "ban", _("Suspended")),
    },
    "agent": {
        "pending": Look(CARE, "hourglass", _("Waiting for approval")),
        "approved": Look(GOOD, "circle-check", _("Approved")),
        "revoked": Look(BAD, "ban", _("Revoked")),
    },
    "key": {
        "pending": Look(CARE, "hourglass", _("Waiting for approval")),
        "active": Look(GOOD, "key", _("Active")),
        "revoked": Look(BAD, "ban", _("Revoked")),
    },
    "presence": {
        "online": Look(GOOD, "wifi", _("Online")),
        "offline": Look(CARE, "wifi-off", _("Offline")),
        "never": Look(CALM, "circle-dashed", _("Never seen")),
    },
    "link": {
        "open": Look(CARE, "mail", _("Open")),
        "used": Look(GOOD, "check", _("Used")),
        "expired": Look(CALM, "clock", _("Expired")),
    },
}
