"""The verbs that change who may take part and who may speak: one durable transaction each, written to the ledger."""

from institutions.services.agents import (
    IssuedCode,
    approve_agent,
    enrol_agent,
    issue_enrolment_code,
    refuse_agent,
    revoke_key,
)
from institutions.services.institution import invite_institution, reinstate_institution, suspend_institution
from institutions.services.people import (
    IssuedInvitation,
    accept_invitation,
    change_role,
    create_administrator,
    invite_person,
    open_invitation,
    remove_member,
    withdraw_invitation,
)

__all__ = [
    "IssuedCode",
    "IssuedInvitation",
    "accept_invitation",
    "approve_agent",
    "change_role",
    "create_administrator",
    "enrol_agent",
    "invite_institution",
    "invite_person",
    "issue_enrolment_code",
    "open_invitation",
    "refuse_agent",
    "reinstate_institution",
    "remove_member",
    "revoke_key",
    "suspend_institution",
    "withdraw_invitation",
]
