"""Forms of projects. A plan's form is read off its schema instead: see ``plan_form``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from institutions.forms import VerbForm
from institutions.models import Institution
from institutions.models.institution import SLUG_PATTERN
from rounds.models import MOST_EPSILON, Project


class EpsilonField(forms.FloatField):
    """What each bank as a whole may lose in a project; empty for no bound."""

    def __init__(self) -> None:
        super().__init__(
            label=_("Privacy budget of each bank (epsilon)"), required=False, max_value=MOST_EPSILON,
            widget=forms.NumberInput(attrs={"inputmode": "decimal", "step": "any", "min": "0"}),
            help_text=_(
                "The most that all runs of the project together may cost one bank as a whole, at delta 0.00001 or the smallest of its "
                "plans. Left empty, there is no bound."
            ),
        )

    def clean(self, value: Any) -> float | None:
        epsilon: float | None = super().clean(value)
        if epsilon is not None and epsilon <= 0:
            raise forms.ValidationError(_("A budget is above 0; leave it empty for none."))
        return epsilon


class BudgetForm(VerbForm):
    """What each bank as a whole may lose in the project, and why."""

    epsilon = EpsilonField()
    reason = forms.CharField(
        label=_("Reason"), max_length=500, help_text=_("It is written to the ledger beside your name.")
    )


class ProjectForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("As people say it: Retail credit scoring."))
    slug = forms.CharField(
        label=_("Short name"),
        max_length=63,
        help_text=_("For plans and addresses, such as retail-credit. It never changes."),
        validators=[
            RegexValidator(SLUG_PATTERN, _("Use lower-case letters, digits and hyphens, beginning with a letter or digit."))
        ],
    )
    purpose = forms.ChoiceField(
        label=_("Purpose"), choices=[(Project.Purpose.CREDIT, _("Credit scoring")), (Project.Purpose.FRAUD, _("Fraud detection"))]
    )
    description = forms.CharField(
        label=_("Description"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("What the model is for, for the people who decide whether their data may serve it."),
    )
    institution_epsilon = EpsilonField()
    participants = forms.ModelMultipleChoiceField(
        label=_("Participants"),
        queryset=Institution.objects.exclude(state=Institution.State.SUSPENDED),
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        help_text=_("Institutions whose data the project may use. A plan names those that train."),
    )
