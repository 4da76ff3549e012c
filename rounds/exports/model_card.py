"""A version's model card, written from the records: what it is, what it is for, how it scores, what protects it, what is not known.

After Mitchell et al. 2019, "Model Cards for Model Reporting", section 4. It says nothing that the records do not hold; what they
do not hold is said to be missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _

from clientagent.wire.plan import Plan
from rounds.models import ModelVersion, Registration, Seat
from rounds.selectors.appraisals import Appraisals, appraisals_of, group_lines
from rounds.selectors.evaluation import Holder, Scores, scores_of
from rounds.selectors.scope import Audience
from rounds.words import STATUS


@dataclass(frozen=True)
class Section:
    """``facts`` are names and values, ``table`` a head and rows, ``points`` sentences of a list."""

    title: str
    text: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    points: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    title: str
    sections: list[Section]


def card_of(version: ModelVersion, audience: Audience) -> Card:
    """The card as this audience may read it: figures of the own bank and of all together, or of every bank."""
    plan = version.run.plan.document
    scores, appraisals = scores_of(version, audience), appraisals_of(version, audience)
    title = _("%(project)s: version %(number)s of run %(run)s") % {
        "project": version.run.plan.project.name, "number": version.number, "run": version.run.number
    }  # fmt: skip
    return Card(title, [
        _model(version, plan), _use(version, plan), _data(version, plan), _figures(scores), _found(scores, plan),
        *_groups(scores, appraisals), *_gains(appraisals), _protection(plan), _decisions(version),
        _limits(version, plan, scores, appraisals),
    ])  # fmt: skip


def _model(version: ModelVersion, plan: Plan) -> Section:
    run = version.run
    hidden = ", ".join(str(width) for width in plan.model.hidden)
    return Section(_("The model"), facts=[
        (_("Version"), _("%(n)s of run %(run)s") % {"n": version.number, "run": run.number}),
        (_("SHA-256 of the weights"), version.digest),
        (_("Made on"), date_format(version.created_at, "Y-m-d H:i T")),
        (_("Family"), plan.model.family + (f" ({hidden})" if plan.model.family == "mlp" else "")),
        (_("Parameters"), number_format(run.parameters or 0, 0, force_grouping=True)),
        (_("Inputs"), str(run.inputs or 0)),
        (_("Training"), _("%(strategy)s, %(rounds)s rounds planned, %(epochs)s local epochs") % {
            "strategy": plan.strategy.name, "rounds": plan.schedule.rounds, "epochs": plan.training.epochs}),
        (_("Plan hash"), run.plan.hash),
        (_("Run manifest"), run.manifest_digest),
    ])  # fmt: skip


def _use(version: ModelVersion, plan: Plan) -> Section:
    purposes = {"credit": _("scoring credit applicants by the chance that they default"),
                "fraud": _("scoring transactions by the chance that they are fraud")}
    project = version.run.plan.project
    text = _("Meant for %(purpose)s, by the banks of the project “%(project)s”. Any other use has not been looked at.") % {
        "purpose": purposes[plan.purpose], "project": project.name
    }  # fmt: skip
    return Section(_("Intended use"), text=f"{text} {project.description}".strip(), facts=[
        (_("Predicts"), _("%(label)s is %(value)s") % {"label": plan.label.name, "value": plan.label.positive}),
        (_("Features"), ", ".join(feature.name for feature in plan.features)),
    ])  # fmt: skip


def _data(version: ModelVersion, plan: Plan) -> Section:
    roster = version.run.roster
    rows = [
        [slug, _n(entry.rows), _n(entry.validation_rows), _n(entry.holdout_rows), _percent(entry.weight)]
        for slug, entry in sorted(roster.items())
    ]
    text = _(
        "Rows that each bank declared before training, frozen in the run's manifest. Hold-out rows were never trained on nor chosen by."
    )
    head = [_("Bank"), _("Training"), _("Validation"), _("Hold-out"), _("Weight")]
    facts = [(_("Numbers become"), str(plan.preprocessing.numeric)), (_("Categories become"), str(plan.preprocessing.categorical))]
    return Section(_("Data"), text, facts, head, rows)


def _figures(scores: Scores) -> Section:
    head = [_("Customers of"), _("Rows"), _("Bad"), "AUC", _("95-percent interval"), "KS", "Gini", _("Brier"), _("Log loss")]
    head.append(_("Calibration error"))
    rows = [_scored(holder) for holder in scores.holders]
    if not rows:
        return Section(_("How it scores"), _("This version has not been evaluated."))
    pooled = scores.pooled
    exact = ""
    if pooled and (auc := pooled.figures["auc"]):
        exact = " " + _("Computed from the scores themselves, the AUC of all banks would lie between %(low)s and %(high)s.") % {
            "low": _figure(auc["low"]), "high": _figure(auc["high"])
        }  # fmt: skip
    text = _("On hold-out customers, from counts per score bin; no customer's score has left a bank.") + exact
    return Section(_("How it scores"), text, head=head, rows=rows)


def _scored(holder: Holder) -> list[str]:
    f = holder.figures
    interval = f["auc_interval"]
    return [
        holder.name or _("All banks"), _n(f["rows"]), _n(f["bad"]), _figure(f["auc"] and f["auc"]["value"]),
        f"{_figure(interval[0], 3)} – {_figure(interval[1], 3)}" if interval else "–", _figure(f["ks"] and f["ks"]["value"]),
        _figure(f["gini"] and f["gini"]["value"]), _figure(f["brier"] and f["brier"]["value"]), _figure(f["logloss"]),
        _figure(f["calibration_error"]),
    ]  # fmt: skip


def _found(scores: Scores, plan: Plan) -> Section:
    title = _("At the alert budget")
    if scores.pooled is None or not scores.pooled.tally.has_both:
        return Section(title, _("Not known: too few banks have evaluated this version."))
    f = scores.pooled.figures
    cut = f["budget_cut"]
    text = _("With the plan's budget of %(budget)s of customers, everybody from a probability of %(p)s is looked at.") % {
        "budget": _percent(plan.evaluation.alert_budget), "p": _percent(cut["probability"])
    }  # fmt: skip
    return Section(title, text, facts=[
        (_("Bad customers found"), f"{_n(cut['true_positives'])} / {_n(f['bad'])}"),
        (_("Good customers flagged"), f"{_n(cut['false_positives'])} / {_n(f['good'])}"),
        *((_("Bad found at %(n)s good flagged") % {"n": _percent(row["rate"])}, _percent(row.get("value"))) for row in f["recall_at_fpr"]),
    ])  # fmt: skip


def _groups(scores: Scores, appraisals: Appraisals) -> list[Section]:
    """Groups of the segment at the cut of the alert budget, of all banks; nothing where there are none."""
    pooled = scores.pooled
    if pooled is None or not appraisals.groups_of(pooled):
        return []
    cut = pooled.figures["budget_cut"]["cut"]
    rows = [
        [line.group.name or _("all others"), _n(line.confusion.rows), _percent(line.group.tally.bad / line.confusion.rows),
         _percent(line.confusion.flagged_share), _percent(line.ratio), _percent(line.confusion.recall),
         _percent(line.confusion.false_positive_rate), _figure(line.auc)]
        for line in group_lines(appraisals.groups_of(pooled), cut)
    ]  # fmt: skip
    head = [_("Group"), _("Rows"), _("Bad"), _("Flagged"), _("of the highest"), _("Bad found"), _("Good flagged"), "AUC"]
    text = _("Hold-out customers of all banks at the cut of the alert budget.")
    return [Section(_("Groups by %(segment)s") % {"segment": appraisals.segment}, text, head=head, rows=rows)]


def _gains(appraisals: Appraisals) -> list[Section]:
    """What each visible bank gains over a model of its own; nothing where nobody has said."""
    rows = []
    for bank in appraisals.gains:
        if bank.gain is None:
            continue
        found, verdicts = bank.gain.federated_gain, {"gains": _("gains"), "loses": _("better alone"), "even": _("no difference shown")}
        local, federated = bank.gain.local.auc, bank.gain.federated.auc
        span = f"{found.value:+.4f} ({found.low:+.4f} – {found.high:+.4f})" if found else "–"
        rows.append([bank.name, _figure(local.value if local else None), _figure(federated.value if federated else None), span,
                     verdicts.get(bank.verdict, _("too few customers to tell"))])  # fmt: skip
    if not rows:
        return []
    head = [_("Bank"), _("Local AUC"), _("Federated AUC"), _("Difference, with 95-percent interval"), _("Verdict")]
    text = _("On each bank's own hold-out customers, against a model of the same family that it trained on its own rows alone.")
    return [Section(_("What banks gain"), text, head=head, rows=rows)]


def _protection(plan: Plan) -> Section:
    privacy = plan.privacy
    points = [_("Customers' rows stayed at the banks; updates, statistics and counts left them.")]
    if privacy.record_dp:
        points.append(_("Record-level differential privacy: at most epsilon %(e)s for a customer over the whole run.") % {
            "e": privacy.record_dp.epsilon})  # fmt: skip
    else:
        points.append(_("No differential privacy for customers: no bound is given on what the weights may tell of one of them."))
    if privacy.institution_dp:
        towards = (
            _("Institution-level differential privacy: epsilon %(e)s for a bank, towards the portal too.")
            if privacy.secure_aggregation
            else _("Institution-level differential privacy: epsilon %(e)s for a bank.")
        )
        points.append(towards % {"e": privacy.institution_dp.epsilon})
    points.append(
        _("Secure aggregation: the portal saw only sums of updates and of evaluation counts.")
        if privacy.secure_aggregation
        else _("No secure aggregation: the portal saw each bank's update.")
    )
    points.append(_("Totals over at least %(banks)s banks; bins of at least %(cell)s customers.") % {
        "banks": privacy.min_banks, "cell": privacy.min_cell})  # fmt: skip
    return Section(_("Protection"), points=points)


def _decisions(version: ModelVersion) -> Section:
    row = Registration.objects.filter(version=version).first()
    status = str(STATUS[row.status].word) if row else _("not registered")
    rows = [
        [date_format(reign.since_at, "Y-m-d H:i T"), date_format(reign.until_at, "Y-m-d H:i T") if reign.until_at else "–", reign.reason]
        for reign in version.reigns.order_by("since_at")
    ]
    approved = version.run.seats.filter(state=Seat.State.SEATED).values_list("institution__slug", flat=True)
    facts = [(_("Status when this was written"), status), (_("Plan approved by"), ", ".join(sorted(approved)))]
    head = [_("Champion from"), _("Until"), _("Reason")] if rows else []
    return Section(_("Decisions"), facts=facts, head=head, rows=rows)


def _limits(version: ModelVersion, plan: Plan, scores: Scores, appraisals: Appraisals) -> Section:
    points = [_("Hold-out customers are of the same time as the training ones: how it does on later ones is not known.")]
    if plan.evaluation.segment is None:
        points.append(_("The plan names no segment: whether groups of customers are treated alike has not been looked at."))
    elif scores.pooled is None or not appraisals.groups_of(scores.pooled):
        points.append(_("Groups by %(segment)s are not told: too few banks or customers, or not all banks hold the result.") % {
            "segment": plan.evaluation.segment})  # fmt: skip
    if not plan.evaluation.gains:
        points.append(_("What banks gain over models of their own was not asked for."))
    points.append(_("Applicants whom the banks declined have no outcome and are not among these customers."))
    for holder in scores.holders:
        interval: Any = holder.figures["auc_interval"]
        if interval and interval[1] - interval[0] > 0.1:
            points.append(_("%(who)s: the AUC is known only to ±%(n)s.") % {
                "who": holder.name or _("All banks"), "n": _figure((interval[1] - interval[0]) / 2, 2)})  # fmt: skip
    if version.run.selected_id != version.pk:
        points.append(_("This version is not the one that its run chose as its result."))
    return Section(_("What is not known"), points=points)


def _n(value: int) -> str:
    return number_format(value, 0, force_grouping=True)


def _figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else number_format(round(value, digits), digits)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{number_format(round(100 * value, 2), 2)}\N{NARROW NO-BREAK SPACE}%"
