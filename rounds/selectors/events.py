"""The ledger in plain sentences: what each entry says, and which of them an operator may read.

Only the few short fields that a sentence needs are read from a body: an accepted update's body holds its whole manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from audit.models import Entry
from institutions.happenings import SENTENCES as HAPPENINGS
from institutions.models import Agent, Institution
from institutions.saying import said
from institutions.words import BAD, BUSY, CALM, CARE, GOOD
from rounds.selectors.scope import Audience
from rounds.words import STAGE

FIELDS = (
    "institution",
    "round",
    "attempt",
    "reason",
    "decision",
    "by",
    "code",
    "rows",
    "number",
    "run_number",
    "selected",
    "seconds",
    "epsilon",
    "column",
    "slug",
    "title",
    "stage",
)

# kind: (tone, icon, sentence). A sentence's names come from FIELDS and from who() below.
SENTENCES: dict[str, tuple[str, str, str]] = {
    "run_proposed": (BUSY, "flag", gettext_noop("Run proposed to the banks")),
    "plan_decided": (BUSY, "checklist", gettext_noop("%(bank)s decided on the plan: %(decision)s")),
    "run_preparing": (BUSY, "list-check", gettext_noop("All needed banks approved; statistics requested")),
    "statistics_received": (GOOD, "list-check", gettext_noop("%(bank)s sent its statistics")),
    "institution_unfit": (BAD, "alert-triangle", gettext_noop("%(bank)s: its data do not fit the plan. %(reason)s")),
    "manifest_signed": (
        GOOD,
        "certificate",
        gettext_noop("Run manifest signed: roster, preprocessing and initial weights are frozen"),
    ),
    "round_opened": (BUSY, "player-play", gettext_noop("Round %(round)s opened")),
    "closing_evaluation_opened": (BUSY, "chart-line", gettext_noop("Closing evaluation opened as round %(round)s: its counts are masked")),
    "counts_opened": (GOOD, "chart-line", gettext_noop("Version %(number)s evaluated: the sum of the banks' counts was opened")),
    "update_accepted": (GOOD, "check", gettext_noop("%(bank)s sent its update for round %(round)s")),
    "update_late": (CARE, "clock-pause", gettext_noop("%(bank)s sent its update for round %(round)s too late")),
    "update_refused": (BAD, "circle-x", gettext_noop("An update of %(bank)s was refused: %(code)s")),
    "work_refused": (BAD, "ban", gettext_noop("%(bank)s refused the work of round %(round)s. %(reason)s")),
    "update_ready": (BUSY, "check", gettext_noop("%(bank)s has trained for round %(round)s and waits to be masked")),
    "statistics_masked": (GOOD, "lock", gettext_noop("%(bank)s sent its statistics under a mask")),
    "statistics_cohort_failed": (CARE, "refresh", gettext_noop("The statistics could not be summed under masks: %(reason)s")),
    "cohort_formed": (BUSY, "users-group", gettext_noop("Round %(round)s: the banks that are ready form a cohort")),
    "cohort_stage_closed": (BUSY, "lock", gettext_noop("Round %(round)s, secure aggregation: stage over: %(stage)s")),
    "round_closed": (BUSY, "lock", gettext_noop("Round %(round)s closed; its aggregation manifest is committed")),
    "version_published": (GOOD, "versions", gettext_noop("Version %(number)s published")),
    "round_abandoned": (CARE, "refresh", gettext_noop("Round %(round)s, attempt %(attempt)s abandoned. %(reason)s")),
    "evaluation_received": (GOOD, "chart-line", gettext_noop("%(bank)s evaluated version %(number)s")),
    "run_paused": (CARE, "player-pause", gettext_noop("Run paused. %(reason)s")),
    "run_resumed": (BUSY, "player-play", gettext_noop("Run resumed. %(reason)s")),
    "privacy_ledger_locked": (BAD, "lock", gettext_noop("The privacy ledger of %(bank)s is locked: the two sides disagree")),
    "privacy_reconciled": (CARE, "key", gettext_noop("The privacy ledger of %(bank)s was reconciled. %(reason)s")),
    "run_stopped": (CALM, "player-stop", gettext_noop("Run stopped. %(reason)s")),
    "run_failed": (BAD, "circle-x", gettext_noop("Run failed. %(reason)s")),
    "run_finished": (GOOD, "rosette-discount-check", gettext_noop("Run finished; version %(selected)s is the result")),
    "result_appraised": (GOOD, "scale", gettext_noop("%(bank)s appraised version %(number)s")),
    "result_acknowledged": (GOOD, "download", gettext_noop("%(bank)s fetched and verified the result")),
    "bank_dropped": (CARE, "user-off", gettext_noop("%(bank)s was dropped. %(reason)s")),
    "deadline_extended": (CALM, "calendar-time", gettext_noop("Deadline extended. %(reason)s")),
    "project_created": (BUSY, "folder", gettext_noop("Project created")),
    "privacy_budget_set": (CARE, "shield-lock", gettext_noop("Privacy budget of each bank set: %(epsilon)s. %(reason)s")),
    "bank_privacy_shown": (CALM, "shield-check", gettext_noop("%(bank)s showed its ledger of what it has lost as a whole")),
    "plan_frozen": (BUSY, "file-certificate", gettext_noop("Plan frozen")),
    "leak_test_attached": (CALM, "shield", gettext_noop("A leakage self-test was attached to a plan")),
    "rehearsal_attached": (CALM, "activity", gettext_noop("A rehearsal was attached to a plan")),
    "portal_approval": (GOOD, "check", gettext_noop("%(bank)s approved the plan in the browser")),
    "portal_restored": (CARE, "history", gettext_noop("The portal was restored from a backup. %(reason)s")),
    "updates_forgotten": (CALM, "trash", gettext_noop("Updates deleted, as the plan's retention says; their receipts stay")),
    "version_registered": (
        BUSY,
        "versions",
        gettext_noop("Version %(number)s of run %(run_number)s registered as a candidate. %(reason)s"),
    ),
    "version_promoted": (
        GOOD,
        "rosette-discount-check",
        gettext_noop("Version %(number)s of run %(run_number)s promoted to champion. %(reason)s"),
    ),
    "champion_rolled_back": (
        CARE,
        "history",
        gettext_noop("Rolled back: version %(number)s of run %(run_number)s is champion again. %(reason)s"),
    ),
    "version_retired": (CALM, "ban", gettext_noop("Version %(number)s of run %(run_number)s retired. %(reason)s")),
    "version_reinstated": (BUSY, "versions", gettext_noop("Version %(number)s of run %(run_number)s is a candidate again. %(reason)s")),
    "chain_anchored": (CALM, "link", gettext_noop("A run's or project's chain was anchored here")),
}
PLAIN = {
    "update_refused": gettext_noop("An update of %(bank)s was refused"),
    "institution_unfit": gettext_noop("%(bank)s: its data do not fit the plan"),
    "work_refused": gettext_noop("%(bank)s refused the work of round %(round)s"),
    "bank_dropped": gettext_noop("%(bank)s was dropped"),
    "run_failed": gettext_noop("Run failed"),
}
"""What an operator reads about another bank: that it happened, not why."""
PRIVATE = ("run_failed",)
"""About no one bank, yet its reason tells why each bank was not ready."""
EXCEPTIONS = (
    "institution_unfit",
    "update_refused",
    "update_late",
    "work_refused",
    "privacy_ledger_locked",
    "round_abandoned",
    "run_paused",
    "run_stopped",
    "run_failed",
    "bank_dropped",
)


@dataclass(frozen=True)
class Line:
    """One entry as a sentence. ``readable`` says whether the reader may open the entry itself."""

    chain: str
    seq: int
    at_utc: str
    kind: str
    actor: str
    who: str
    tone: str
    icon: str
    text: str
    institution: str
    round_number: int | None
    readable: bool

    @property
    def element(self) -> str:
        return f"event-{self.seq}"


@dataclass(frozen=True)
class Told:
    """Entries as their rows say, for no reader in particular: the columns of each, the banks' names, and whose agents spoke."""

    entries: list[dict[str, Any]]
    names: Mapping[str, str]
    agents: Mapping[str, str]

    def to(self, audience: Audience) -> list[Line]:
        """The entries as sentences in the reader's language, with what this reader may know."""
        agents = {actor: _("agent of %(bank)s") % {"bank": name} for actor, name in self.agents.items()}
        return [_line(entry, self.names, agents, audience) for entry in self.entries]


def run_entries(chain: str, *, round_number: int | None = None, limit: int = 30) -> Told:
    """The latest entries of a run's chain, newest first; of one round where it is named."""
    rows = Entry.objects.filter(chain_id=chain)
    if round_number is not None:
        rows = rows.filter(body__round=round_number)
    return _read(rows.order_by("-seq")[:limit])


def lines(rows: QuerySet[Entry], audience: Audience) -> list[Line]:
    return _read(rows).to(audience)


def _read(rows: QuerySet[Entry]) -> Told:
    columns = ("chain_id", "seq", "at_utc", "kind", "actor")
    entries = list(rows.values(*columns, *(f"body__{name}" for name in FIELDS)))
    names = dict(Institution.objects.values_list("slug", "name"))
    ids = {entry["actor"].removeprefix("agent:") for entry in entries if entry["actor"].startswith("agent:")}
    owners = Agent.objects.filter(pk__in=ids).values_list("pk", "institution__name") if ids else []
    return Told(entries, names, {f"agent:{pk}": name for pk, name in owners})


def may_read(entry: Entry, audience: Audience) -> bool:
    """An operator reads entries about its own institution and those about no bank."""
    return (
        audience.sees_all
        or entry.kind not in PRIVATE
        and entry.body.get("institution", audience.institution_slug) == audience.institution_slug
    )


def _line(value: Mapping[str, Any], names: Mapping[str, str], agents: Mapping[str, str], audience: Audience) -> Line:
    body = {name: value[f"body__{name}"] for name in FIELDS}
    slug = body["institution"] or ""
    readable = audience.sees_all or (slug in ("", audience.institution_slug) and value["kind"] not in PRIVATE)
    tone, icon, sentence = SENTENCES.get(value["kind"], (CALM, "circle-dot", ""))
    if not readable:
        sentence = PLAIN.get(value["kind"], sentence)
    if sentence:
        text = _fill(sentence, body, names.get(slug, slug))
    else:
        icon, text = _told_by_institutions(value["kind"], value["actor"], names.get(slug, slug))
    return Line(
        value["chain_id"],
        value["seq"],
        value["at_utc"],
        value["kind"],
        value["actor"],
        agents.get(value["actor"], value["actor"].removeprefix("user:")),
        tone,
        icon,
        text,
        slug,
        body["round"],
        readable,
    )


def _told_by_institutions(kind: str, actor: str, bank: str) -> tuple[str, str]:
    icon, verb = HAPPENINGS.get(kind, ("circle-dot", kind.replace("_", " ")))
    who = actor.partition(":")[2] or actor
    return icon, f"{who[:40]} {verb}" + (f": {bank}" if bank else "")


def _fill(sentence: str, body: Mapping[str, Any], bank: str) -> str:
    words = {name: "" if field is None else str(field) for name, field in body.items()}
    words["decision"] = {"approved": _("approved"), "refused": _("refused"), "pending": _("a person must look")}.get(
        words["decision"], words["decision"]
    )
    words["reason"] = said(words["reason"])
    words["epsilon"] = words["epsilon"] or _("none")
    if words["stage"] in STAGE:
        words["stage"] = str(STAGE[words["stage"]].word)
    return (_(sentence) % (words | {"bank": bank})).strip()


def exceptions(audience: Audience, *, limit: int = 10) -> list[Line]:
    """What an auditor looks at first: refusals, abandoned rounds, failures, newest first."""
    return lines(Entry.objects.filter(kind__in=EXCEPTIONS).order_by("-at_utc")[:limit], audience)
