"""What a leakage self-test reports: how much each attack took out of updates without protection, and under a plan.

``fedagent leaktest --json`` prints a ``LeakTest`` and the portal shows one on a plan's page, so its words stand here for both.
Sentences are marked for translation here and translated where they are shown. A test proves leaks, never their absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from clientagent.wire.messages.basis import Count, Digest, Instant, Message
from clientagent.wire.plan import Plan

Attack = Literal["recovery", "inversion", "membership", "few_false_alarms", "canary"]
Verdict = Literal["leaks", "less", "hidden", "nothing", "broken"]
Share = Annotated[float, Field(ge=-1, le=1)]
MUCH_LESS = 0.5
"""Of what an attack gains over chance, the part below which protection is said to help though something still leaks."""


def _(sentence: str) -> str:
    """Marks a sentence for translation."""
    return sentence


class Finding(Message):
    """One attack. ``without`` and ``protected`` are in the attack's own measure, ``chance`` is what guessing yields.

    ``customers``: whose data the attacked update came from. ``margin``: how far from chance luck alone gets (99 %). ``ceiling``: the
    most that this many trials could have shown, where there is such a bound.
    """

    attack: Attack
    customers: Annotated[int, Field(ge=1, le=10**6)]
    chance: Annotated[float, Field(ge=-1, le=1)]
    margin: Annotated[float, Field(ge=0, le=1)]
    without: Annotated[float, Field(ge=-1, le=100)]
    protected: Annotated[float, Field(ge=-1, le=100)]
    ceiling: Annotated[float, Field(ge=0, le=100)] | None = None

    @property
    def leaks_without(self) -> bool:
        return self.without > self.chance + self.margin

    @property
    def leaks_protected(self) -> bool:
        return self.protected > self.chance + self.margin

    def verdict(self, stated_epsilon: float | None = None) -> Verdict:
        """``broken``: the audit proves more loss of privacy than the plan states."""
        if self.attack == "canary" and stated_epsilon is not None and self.protected > stated_epsilon:
            return "broken"
        if not self.leaks_protected:
            return "hidden" if self.leaks_without else "nothing"
        gained, kept = self.without - self.chance, self.protected - self.chance
        return "less" if kept < MUCH_LESS * gained else "leaks"


class LeakTest(Message):
    """A self-test of one plan's kind of update on generated customers; the same seed and version repeat it.

    ``stated_epsilon`` and ``delta``: what the plan promises a customer for the whole run, null without record_dp. ``banks``: in a
    cohort. ``hidden`` and ``inputs``: of the model that was attacked, which is narrowed where the plan's would take too long.
    """

    type: Literal["leak_test"] = "leak_test"
    plan_hash: Digest
    agent_version: Annotated[str, Field(max_length=64)]
    made_utc: Instant
    seconds: Annotated[float, Field(ge=0, le=10**6)]
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    rows: Annotated[int, Field(ge=1, le=10**6)]
    banks: Annotated[int, Field(ge=1, le=10**4)]
    inputs: Annotated[int, Field(ge=1, le=10**6)]
    hidden: Annotated[list[Count], Field(max_length=8)]
    parameters: Count
    narrowed: bool
    stated_epsilon: Annotated[float, Field(gt=0, le=1000)] | None
    delta: Annotated[float, Field(gt=0, lt=1)] | None
    findings: Annotated[list[Finding], Field(min_length=1, max_length=20)]


# ------------------------------------------------------------------------ words
ATTACKS: Mapping[Attack, str] = {
    "recovery": _("Inputs read off the first layer"),
    "inversion": _("Inputs found by gradient inversion"),
    "membership": _("Who was trained on"),
    "few_false_alarms": _("Who was trained on, at a false-alarm rate of 1 percent"),
    "canary": _("Canary audit"),
}
MEASURES: Mapping[Attack, str] = {
    "recovery": _("correlation with the customer's true inputs"),
    "inversion": _("correlation with the customers' true inputs"),
    "membership": _("AUC of telling members from others"),
    "few_false_alarms": _("share of members found"),
    "canary": _("epsilon, proven from below with 95-percent confidence"),
}
SOURCES: Mapping[Attack, str] = {
    "recovery": "Phong et al. 2018",
    "inversion": "Geiping et al. 2020",
    "membership": "Yeom et al. 2018, Watson et al. 2022",
    "few_false_alarms": "Carlini et al. 2022",
    "canary": "Jagielski et al. 2020, Nasr et al. 2021",
}
VERDICTS: Mapping[Verdict, str] = {
    "leaks": _("It leaks: under this plan the attack still works."),
    "less": _("It leaks less: the plan takes away most of what the attack gains, but not all."),
    "hidden": _("Protected here: what worked without protection did no better than chance under this plan."),
    "nothing": _("Nothing was found either way: this attack is too weak here to say anything."),
    "broken": _("More than the plan states: report this as a fault before anything is trained."),
}
CAVEAT = _("A self-test proves leaks, never their absence: a stronger attack may find what these did not.")
UNPROTECTED = _(
    "Without protection: the bare gradient of the same customers (for the first two attacks), or the plan's own training with noise, "
    "masks and compression off (for the others)."
)


def protections(plan: Plan) -> list[tuple[str, Mapping[str, str | int]]]:
    """What a plan does for its customers: sentences to translate, with what fills them. Empty for bare gradients."""
    record, bank, secure = plan.privacy.record_dp, plan.privacy.institution_dp, plan.privacy.secure_aggregation
    found: list[tuple[str, Mapping[str, str | int]]] = []
    if record:
        found.append((_("noise on each customer's part, epsilon %(epsilon)s"), {"epsilon": f"{record.epsilon:g}"}))
    if bank:
        found.append((_("noise on each bank's part, epsilon %(epsilon)s"), {"epsilon": f"{bank.epsilon:g}"}))
    if secure:
        found.append((_("masks: only the sum of %(banks)s banks or more is opened"), {"banks": secure.min_cohort}))
    if plan.compression.codec != "none":
        found.append((_("compression by %(codec)s"), {"codec": plan.compression.codec}))
    found.append(
        (_("%(epochs)s passes in batches of %(rows)s"), {"epochs": plan.training.epochs, "rows": plan.training.batch_size})
    )
    return found
