"""The tables of a federation's work. What must always hold is a constraint here."""

from rounds.models.privacy import PrivacyAccount, PrivacyLink, PrivacyRelease
from rounds.models.projects import MOST_EPSILON, Plan, PlanDecision, PortalApproval, Project
from rounds.models.register import Registration, Reign
from rounds.models.reports import LeakReport, RehearsalReport
from rounds.models.rounds import Cohort, CohortMessage, Participation, Round
from rounds.models.runs import Run, Seat, chain_of
from rounds.models.updates import Blob, Receipt, Update, Upload, UploadPart
from rounds.models.versions import Appraisal, Evaluation, ModelVersion

__all__ = [
  "MOST_EPSILON",
  "Appraisal",
  "Blob",
  "Cohort",
  "CohortMessage",
  "Evaluation",
  "LeakReport",
  "RehearsalReport",
  "ModelVersion",
  "Participation",
  "Plan",
  "PlanDecision",
  "PortalApproval",
  "PrivacyAccount",
  "PrivacyLink",
  "PrivacyRelease",
  "Project",
  "Receipt",
  "Registration",
  "Reign",
  "Round",
  "Run",
  "Seat",
  "Update",
  "Upload",
  "UploadPart",
  "chain_of",
]
