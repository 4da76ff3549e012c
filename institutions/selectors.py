"""Reads of institutions, always through the eyes of a person: what they may not see does not exist for them."""

from __future__ import annotations

import uuid

from django.db.models import Count, Q, QuerySet
from django.http import Http404

from audit.models import Entry
from audit.services import CONSORTIUM
from institutions.models import Agent, AgentKey, Institution, Role
from institutions.permissions import Person, institution_of, role_of


def visible_institutions(user: Person) -> QuerySet[Institution]:
    """All for administrators and auditors, their own for operators, none for anyone else."""
    role = role_of(user)
    if role in (Role.ADMINISTRATOR, Role.AUDITOR):
        return Institution.objects.all()
    own = institution_of(user)
    return Institution.objects.filter(pk=own.pk) if role == Role.OPERATOR and own else Institution.objects.none()


def institution_for(user: Person, slug: str) -> Institution:
    """Raises ``Http404`` for another institution's page as for one that does not exist."""
    found = visible_institutions(user).filter(slug=slug).first()
    if found is None:
        raise Http404
    return found


def visible_agents(user: Person) -> QuerySet[Agent]:
    return Agent.objects.filter(institution__in=visible_institutions(user)).select_related("institution")


def agent_for(user: Person, agent_id: uuid.UUID) -> Agent:
    found = visible_agents(user).filter(pk=agent_id).first()
    if found is None:
        raise Http404
    return found


def key_for(user: Person, fingerprint: str) -> AgentKey:
    found = AgentKey.objects.filter(agent__in=visible_agents(user), fingerprint=fingerprint).first()
    if found is None:
        raise Http404
    return found


def institutions_table(user: Person) -> QuerySet[Institution]:
    """The list page's rows: with counts of members, approved agents and agents that wait for a decision."""
    return visible_institutions(user).annotate(
        member_count=Count("members", distinct=True),
        agent_count=Count("agents", filter=Q(agents__state=Agent.State.APPROVED), distinct=True),
        pending_count=Count("agents", filter=Q(agents__state=Agent.State.PENDING), distinct=True),
    )


def pending_agents() -> QuerySet[Agent]:
    """Agents that an administrator has yet to approve or refuse."""
    return Agent.objects.filter(state=Agent.State.PENDING).select_related("institution").order_by("created_at")


def history_of(institution: Institution, *, limit: int = 50) -> list[Entry]:
    """The latest entries of the consortium's chain about this institution, newest first."""
    rows = Entry.objects.filter(chain_id=CONSORTIUM, body__institution=institution.slug).order_by("-seq")
    return list(rows[:limit])
