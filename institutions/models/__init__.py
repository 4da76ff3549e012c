"""The tables of who may take part and who may speak. What must always hold is a constraint here."""

from institutions.models.agents import Agent, AgentKey, EnrolmentCode
from institutions.models.institution import Institution
from institutions.models.people import Invitation, Membership, Role, User

__all__ = ["Agent", "AgentKey", "EnrolmentCode", "Institution", "Invitation", "Membership", "Role", "User"]
