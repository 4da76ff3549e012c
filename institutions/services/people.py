"""How people come, change their role and leave."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.utils import timezone

from clientagent.wire.errors import IllegalMove, Malformed, NotFound
from institutions.models import Institution, Invitation, Membership, Role, User
from institutions.services.codes import make_token, token_hash
from institutions.services.institution import welcome
from institutions.services.ledger import PORTAL, record

INVITATION_VALID = dt.timedelta(days=7)


@dataclass(frozen=True)
class IssuedInvitation:
    """The token as it is shown once, and the row that remembers its hash."""

    token: str
    row: Invitation


@transaction.atomic(durable=True)
def invite_person(
    *, email: str, role: Role, by: User | str, institution: Institution | None = None,
    valid_for: dt.timedelta = INVITATION_VALID,
) -> IssuedInvitation:
    """A link for one person to one seat. Earlier open invitations of the address stop working.

    Raises ``Malformed`` or, for somebody who has a seat, ``IllegalMove``.
    """
    email = _address(email)
    if (role == Role.OPERATOR) != (institution is not None):
        raise Malformed(expected="an institution for an operator, and for nobody else", got=str(role))
    if Membership.objects.filter(user__email=email).exists():
        raise IllegalMove(expected="a person without a seat", got="a member", action="Change the member's role instead.")
    now, token = timezone.now(), make_token()
    Invitation.objects.filter(email=email, used_at=None, expires_at__gt=now).update(expires_at=now)
    row = Invitation.objects.create(
        token_hash=token_hash(token), email=email, role=role, institution=institution, expires_at=now + valid_for,
        created_by=by if isinstance(by, User) else None,
    )
    record("person_invited", by=by, invitation=row.pk, role=str(role), institution=institution and institution.slug)
    return IssuedInvitation(token, row)


def open_invitation(token: str) -> Invitation:
    """The invitation behind a link, while it works. Raises ``NotFound``."""
    row = Invitation.objects.select_related("institution").filter(token_hash=token_hash(token)).first()
    if row is None or not row.is_open(timezone.now()):
        raise NotFound(
            expected="an invitation that is still open", got="one that is unknown, used or expired",
            action="Ask the consortium's administrator for a new invitation.",
        )
    return row


@transaction.atomic(durable=True)
def accept_invitation(*, token: str, name: str, password: str) -> User:
    """The bearer takes the seat, once. The caller has validated the password. Raises ``NotFound``."""
    row = open_invitation(token)
    now = timezone.now()
    if not Invitation.objects.filter(pk=row.pk, used_at=None, expires_at__gt=now).update(used_at=now):
        raise NotFound(expected="an invitation that is still open", got="one that somebody has just used")
    user = _person(email=row.email, name=name, password=password)
    _seat(user, row.role, row.institution)
    if row.institution:
        welcome(row.institution)
    record(
        "invitation_accepted", by=user, invitation=row.pk, member=user.pk, role=row.role,
        institution=row.institution and row.institution.slug,
    )
    return user


@transaction.atomic(durable=True)
def withdraw_invitation(*, invitation: Invitation, by: User) -> Invitation:
    """Its link stops working. Raises ``IllegalMove`` if it was used or has expired."""
    now = timezone.now()
    if not Invitation.objects.filter(pk=invitation.pk, used_at=None, expires_at__gt=now).update(expires_at=now):
        raise IllegalMove(expected="an open invitation", got="one that was used or has expired")
    slug = invitation.institution and invitation.institution.slug
    record("invitation_withdrawn", by=by, invitation=invitation.pk, institution=slug)
    return invitation


@transaction.atomic(durable=True)
def change_role(*, member: Membership, role: Role, by: User, institution: Institution | None = None) -> Membership:
    """Another seat for a member, at once. Raises ``IllegalMove`` where no administrator would be left."""
    if (role == Role.OPERATOR) != (institution is not None):
        raise Malformed(expected="an institution for an operator, and for nobody else", got=str(role))
    _keep_an_administrator(member, stays=role == Role.ADMINISTRATOR)
    was, was_at = member.role, member.institution
    member.role, member.institution = role, institution
    member.save(update_fields=["role", "institution"])
    slug = (institution or was_at) and (institution or was_at).slug  # type: ignore[union-attr]
    record("role_changed", by=by, member=member.user_id, was=was, role=str(role), institution=slug)
    return member


@transaction.atomic(durable=True)
def remove_member(*, member: Membership, by: User, reason: str) -> None:
    """The person keeps nothing but a name in the ledger: no seat, and no password to sign in with."""
    _keep_an_administrator(member, stays=False)
    slug, user = member.institution and member.institution.slug, member.user
    member.delete()
    user.set_unusable_password()
    user.is_active = False  # ends every session of theirs, too
    user.save(update_fields=["password", "is_active"])
    record("member_removed", by=by, member=user.pk, role=member.role, institution=slug, reason=reason)


@transaction.atomic(durable=True)
def create_administrator(*, email: str, password: str | None, name: str = "") -> User:
    """From the command line of the machine: the way in before anybody is in."""
    user = _person(email=_address(email), name=name, password=password)
    _seat(user, Role.ADMINISTRATOR, None)
    record("administrator_created", by=PORTAL, member=user.pk)
    return user


def _address(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise Malformed(expected="an e-mail address", got=email[:80]) from error
    return email


def _person(*, email: str, name: str, password: str | None) -> User:
    """A new account, or that of somebody who left and comes back with a new password."""
    user = User.objects.filter(email=email).first()
    if user is None:
        user = User.objects.make(email=email, password=password, name=name)
    else:
        user.name, user.is_active = name or user.name, True
        user.set_password(password)
        user.save()
    EmailAddress.objects.update_or_create(user=user, email=email, defaults={"verified": True, "primary": True})
    return user


def _seat(user: User, role: str, institution: Institution | None) -> None:
    try:
        with transaction.atomic():
            Membership.objects.create(user=user, role=role, institution=institution)
    except IntegrityError as error:
        raise IllegalMove(expected="a person without a seat", got="a member") from error


def _keep_an_administrator(member: Membership, *, stays: bool) -> None:
    """The lock on all administrators' rows, in one order, decides between two who remove each other at the same moment."""
    if member.role != Role.ADMINISTRATOR or stays:
        return
    administrators = Membership.objects.select_for_update().filter(role=Role.ADMINISTRATOR).order_by("pk")
    if all(other.pk == member.pk for other in administrators):
        raise IllegalMove(expected="another administrator", got="the last one", action="Appoint another one first.")
