"""How each state is shown: one colour, one icon and one word, the same on every page."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from institutions.words import BAD, BUSY, CALM, CARE, GOOD, Look

RUN: dict[str, Look] = {
    "draft": Look(CALM, "pencil", _("Draft")),
    "proposed": Look(CARE, "hourglass", _("Waiting for approvals")),
    "preparing": Look(BUSY, "list-check", _("Preparing")),
    "running": Look(BUSY, "player-play", _("Running")),
    "paused": Look(CARE, "player-pause", _("Paused")),
    "finished": Look(GOOD, "circle-check", _("Finished")),
    "stopped": Look(CALM, "player-stop", _("Stopped")),
    "failed": Look(BAD, "circle-x", _("Failed")),
}
ROUND: dict[str, Look] = {
    "open": Look(BUSY, "progress", _("Open")),
    "closing": Look(BUSY, "lock", _("Closing")),
    "aggregating": Look(BUSY, "stack-2", _("Aggregating")),
    "published": Look(GOOD, "circle-check", _("Published")),
    "abandoned": Look(CARE, "refresh", _("Abandoned")),
    "ahead": Look(CALM, "circle-dashed", _("Ahead")),
}
PHASE: dict[str, Look] = {
    "invited": Look(CALM, "clock", _("Waiting")),
    "pulled": Look(BUSY, "download", _("Model pulled")),
    "training": Look(BUSY, "brain", _("Training")),
    "ready": Look(BUSY, "check", _("Ready")),
    "uploading": Look(BUSY, "cloud-upload", _("Uploading")),
    "received": Look(GOOD, "check", _("Received")),
    "accepted": Look(GOOD, "circle-check", _("Accepted")),
    "rejected": Look(BAD, "circle-x", _("Rejected")),
    "late": Look(CARE, "clock-pause", _("Late")),
    "dropped": Look(BAD, "user-off", _("Dropped")),
}
STAGE: dict[str, Look] = {
    "keys": Look(BUSY, "key", _("Exchanging keys")),
    "shares": Look(BUSY, "shield-lock", _("Dealing shares")),
    "masked": Look(BUSY, "cloud-upload", _("Collecting masked updates")),
    "consistency": Look(BUSY, "list-check", _("Agreeing on who is in the sum")),
    "unmask": Look(BUSY, "stack-2", _("Opening the sum")),
    "done": Look(GOOD, "circle-check", _("Sum opened")),
    "failed": Look(CARE, "refresh", _("Cohort given up")),
}
"""A cohort's stages under secure aggregation."""
SEAT: dict[str, Look] = {
    "invited": Look(CARE, "hourglass", _("Not approved yet")),
    "approved": Look(GOOD, "check", _("Approved")),
    "refused": Look(BAD, "ban", _("Refused")),
    "counted": Look(GOOD, "list-check", _("Statistics in")),
    "unfit": Look(BAD, "alert-triangle", _("Data do not fit")),
    "seated": Look(GOOD, "user-check", _("On the roster")),
    "absent": Look(CARE, "wifi-off", _("Did not answer")),
    "dropped": Look(BAD, "user-off", _("Dropped")),
}
DECISION: dict[str, Look] = {
    "approved": Look(GOOD, "circle-check", _("Approved")),
    "refused": Look(BAD, "ban", _("Refused")),
    "pending": Look(CARE, "hourglass", _("A person must look")),
    "none": Look(CALM, "circle-dashed", _("No answer yet")),
}
SUBJECT: dict[str, Look] = {
    "update": Look(BUSY, "cloud-upload", _("Model update")),
    "ready": Look(BUSY, "check", _("Ready to be masked")),
    "statistics": Look(BUSY, "list-check", _("Statistics")),
    "evaluation": Look(BUSY, "chart-line", _("Evaluation counts")),
    "appraisal": Look(BUSY, "scale", _("Appraisal of the result")),
    "acknowledgement": Look(GOOD, "download", _("Result fetched")),
    "decision": Look(BUSY, "checklist", _("Decision on a plan")),
    "refusal": Look(CARE, "ban", _("Work refused")),
}
"""What a receipt is about."""
STATUS: dict[str, Look] = {
    "candidate": Look(BUSY, "versions", _("Candidate")),
    "champion": Look(GOOD, "star", _("Champion")),
    "retired": Look(CALM, "package", _("Retired")),
}
"""Of a version in its project's registry."""
PURPOSE: dict[str, Look] = {
    "credit": Look(CALM, "scale", _("Credit scoring")),
    "fraud": Look(CALM, "shield", _("Fraud detection")),
}
LOOKS: dict[str, dict[str, Look]] = {
    "run": RUN,
    "round": ROUND,
    "phase": PHASE,
    "stage": STAGE,
    "seat": SEAT,
    "decision": DECISION,
    "subject": SUBJECT,
    "purpose": PURPOSE,
    "status": STATUS,
}
