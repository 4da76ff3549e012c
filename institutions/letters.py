"""The letters that this room writes. They leave after the fact is committed; a mail server that is away undoes nothing."""

from __future__ import annotations

import logging
import smtplib

from django.core.mail import send_mail
from django.template.loader import render_to_string

from institutions.models import Invitation

logger = logging.getLogger(__name__)


def send_invitation(invitation: Invitation, link: str) -> bool:
    """Whether the mail server took it. The link also stands on the administrator's page, once."""
    context = {"invitation": invitation, "link": link}
    subject = render_to_string("institutions/letters/invitation_subject.txt", context).strip()
    text = render_to_string("institutions/letters/invitation.txt", context)
    try:
        return bool(send_mail(subject, text, None, [invitation.email]))
    except (smtplib.SMTPException, OSError):
        logger.warning("an invitation could not be mailed", exc_info=True)
        return False
