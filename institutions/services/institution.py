"""Inviting, suspending and reinstating an institution."""

from __future__ import annotations

import re

from django.db import IntegrityError, transaction
from django.db.models import Q

from clientagent.wire.errors import IllegalMove, Malformed
from institutions.models import Agent, Institution, User
from institutions.models.institution import SLUG_PATTERN
from institutions.services.ledger import record


@transaction.atomic(durable=True)
def invite_institution(*, slug: str, name: str, by: User | str, note: str = "") -> Institution:
    """A new institution, ``invited``. Raises ``Malformed`` for a bad short name, ``IllegalMove`` for one that is taken."""
    if not re.match(SLUG_PATTERN, slug):
        raise Malformed(expected="a short name of lower-case letters, digits and hyphens", got=slug[:80])
    if not name.strip():
        raise Malformed(expected="a name", got="nothing")
    try:
        with transaction.atomic():
            institution = Institution.objects.create(slug=slug, name=name.strip(), note=note)
    except IntegrityError as error:
        raise IllegalMove(expected="a new short name", got=slug, action="Choose another short name.") from error
    record("institution_invited", by=by, institution=slug, name=institution.name)
    return institution


@transaction.atomic(durable=True)
def suspend_institution(*, institution: Institution, by: User, reason: str) -> Institution:
    """From the next request on its agents are refused. Raises ``IllegalMove`` if it is suspended already."""
    _move(institution, was=[Institution.State.INVITED, Institution.State.ACTIVE], to=Institution.State.SUSPENDED)
    record("institution_suspended", by=by, institution=institution.slug, reason=reason)
    return institution


@transaction.atomic(durable=True)
def reinstate_institution(*, institution: Institution, by: User, reason: str) -> Institution:
    """Its agents speak again. Raises ``IllegalMove`` if it is not suspended."""
    somebody_came = Institution.objects.filter(
        Q(members__isnull=False) | Q(agents__state=Agent.State.APPROVED), pk=institution.pk
    ).exists()
    to = Institution.State.ACTIVE if somebody_came else Institution.State.INVITED
    _move(institution, was=[Institution.State.SUSPENDED], to=to)
    record("institution_reinstated", by=by, institution=institution.slug, reason=reason)
    return institution


def welcome(institution: Institution) -> None:
    """The first of its people or agents has come: it takes part from now on."""
    if Institution.objects.filter(pk=institution.pk, state=Institution.State.INVITED).update(
        state=Institution.State.ACTIVE
    ):
        institution.state = Institution.State.ACTIVE


def _move(institution: Institution, *, was: list[Institution.State], to: Institution.State) -> None:
    if not Institution.objects.filter(pk=institution.pk, state__in=was).update(state=to):
        raise IllegalMove(expected=" or ".join(was), got=Institution.objects.get(pk=institution.pk).state)
    institution.state = to
