"""How an entry of the consortium's chain is told to people: an icon and a sentence for each kind."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from audit.models import Entry

SENTENCES: dict[str, tuple[str, str | Promise]] = {
    "institution_invited": ("building-bank", _("invited the institution")),
    "institution_suspended": ("ban", _("suspended the institution")),
    "institution_reinstated": ("circle-check", _("reinstated the institution")),
    "person_invited": ("mail-forward", _("invited a person")),
    "invitation_accepted": ("user-check", _("accepted an invitation")),
    "invitation_withdrawn": ("mail", _("withdrew an invitation")),
    "role_changed": ("users", _("changed a member's role")),
    "member_removed": ("user-off", _("removed a member")),
    "administrator_created": ("user-plus", _("made an administrator from the command line")),
    "enrolment_code_issued": ("key", _("issued an enrolment code")),
    "agent_enrolled": ("robot", _("introduced itself")),
    "agent_approved": ("fingerprint", _("approved an agent")),
    "agent_refused": ("circle-x", _("refused an agent")),
    "key_revoked": ("ban", _("revoked a key")),
}


@dataclass(frozen=True)
class Happening:
    entry: Entry
    icon: str
    who: str
    sentence: str | Promise

    @property
    def detail(self) -> str:
        """The reason where there is one, else what was named."""
        body = self.entry.body
        return str(body.get("reason") or body.get("name") or body.get("role") or "")


def happening(entry: Entry) -> Happening:
    icon, sentence = SENTENCES.get(entry.kind, ("timeline-event", entry.kind.replace("_", " ")))
    kind, _colon, name = entry.actor.partition(":")
    who = {"user": name, "agent": f"agent {name[:8]}"}.get(kind, entry.actor)
    return Happening(entry, icon, who, sentence)
