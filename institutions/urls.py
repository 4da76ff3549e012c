"""Addresses of this room's pages."""

from __future__ import annotations

from django.urls import path

from institutions.views import agents, institutions, people

app_name = "institutions"
urlpatterns = [
    path("institutions/", institutions.listing, name="list"),
    path("institutions/mine", institutions.mine, name="mine"),
    path("institutions/invite", institutions.invite, name="invite"),
    path("institutions/<slug:slug>/", institutions.detail, name="detail"),
    path("institutions/<slug:slug>/suspend", institutions.suspend, name="suspend"),
    path("institutions/<slug:slug>/reinstate", institutions.reinstate, name="reinstate"),
    path("institutions/<slug:slug>/code", agents.issue_code, name="code"),
    path("agents/<uuid:agent_id>/", agents.agent, name="agent"),
    path("agents/<uuid:agent_id>/refuse", agents.refuse, name="refuse"),
    path("keys/<str:fingerprint>/revoke", agents.revoke, name="revoke"),
    path("people/", people.people, name="people"),
    path("people/invite", people.invite, name="invite-person"),
    path("people/invitations/<int:pk>/withdraw", people.withdraw, name="withdraw"),
    path("people/<int:pk>/role", people.change_role, name="role"),
    path("people/<int:pk>/remove", people.remove, name="remove"),
    path("invitations/<str:token>/", people.accept, name="accept"),
]
