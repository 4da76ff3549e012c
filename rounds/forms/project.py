"""Forms of projects. A plan's form is read off its schema instead: see ``plan_form``."""

from __future__ import annotations

from django import forms
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from institutions.models import Institution
from institutions.models.institution import SLUG_PATTERN
from rounds.models import Project


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
    participants = forms.ModelMultipleChoiceField(
        label=_("Participants"),
        queryset=Institution.objects.exclude(state=Institution.State.SUSPENDED),
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        help_text=_("Institutions whose data the project may use. A plan names those that train."),
    )
