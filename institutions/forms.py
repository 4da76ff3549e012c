"""What people type into this room's pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django import forms
from django.contrib.auth.password_validation import password_validators_help_text_html, validate_password
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

from clientagent.wire.errors import Refusal
from institutions.models import Institution, Membership, Role, User
from institutions.models.institution import SLUG_PATTERN
from institutions.saying import refusal_text

T = TypeVar("T")


class VerbForm(forms.Form):
    """A form that ends in one service call."""

    def run(self, verb: Callable[..., T], **arguments: Any) -> T | None:
        """The verb's result; None, and the reason as the form's error, where it refuses."""
        try:
            return verb(**arguments)
        except Refusal as refusal:
            self.add_error(None, refusal_text(refusal))
            return None


class InstitutionForm(VerbForm):
    name = forms.CharField(label=_("Name"), max_length=120, help_text=_("As people know the bank: North Bank."))
    slug = forms.CharField(
        label=_("Short name"), max_length=63,
        help_text=_("Lower-case letters, digits and hyphens. It stands in plans and on the ledger and never changes."),
        validators=[
            RegexValidator(SLUG_PATTERN, _("Use lower-case letters, digits and hyphens, beginning with a letter or digit."))
        ],
    )
    note = forms.CharField(label=_("Note"), max_length=2000, required=False, widget=forms.Textarea({"rows": 2}))


class PersonForm(VerbForm):
    email = forms.EmailField(label=_("E-mail"), max_length=254)
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.OPERATOR)
    institution = forms.ModelChoiceField(
        label=_("Institution"), queryset=Institution.objects.all(), required=False, empty_label=_("none: the consortium"),
        to_field_name="slug", help_text=_("Operators serve one institution; administrators and auditors none."),
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("role") == Role.OPERATOR and not data.get("institution"):
            self.add_error("institution", _("Choose the operator's institution."))
        if data.get("role") in (Role.ADMINISTRATOR, Role.AUDITOR) and data.get("institution"):
            self.add_error("institution", _("Only operators have an institution."))
        return data


class RoleForm(PersonForm):
    email = None  # type: ignore[assignment]

    def __init__(self, data: Any = None, *, member: Membership) -> None:
        slug = member.institution.slug if member.institution else None
        super().__init__(data, initial={"role": member.role, "institution": slug})


class ReasonForm(VerbForm):
    reason = forms.CharField(
        label=_("Reason"), max_length=500, widget=forms.Textarea({"rows": 2}),
        help_text=_("It is written to the ledger beside your name."),
    )


class PlainForm(VerbForm):
    """Nothing but a button."""


class FingerprintForm(VerbForm):
    """The administrator enters what the bank reads out, so that comparing cannot be skipped."""

    fingerprint = forms.CharField(
        label=_("Fingerprint as the bank reads it"), max_length=100,
        help_text=_("At least the first 16 digits, read from the bank's terminal by telephone. Spaces do not matter."),
        widget=forms.TextInput({"autocomplete": "off", "spellcheck": "false", "class": "font-monospace"}),
    )

    def __init__(self, *args: Any, expected: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.expected = expected

    def clean_fingerprint(self) -> str:
        digits = "".join(self.cleaned_data["fingerprint"].lower().replace(":", "").replace("-", "").split())
        if len(digits) < 16:
            raise ValidationError(_("Enter at least 16 digits."))
        if not self.expected.startswith(digits):
            raise ValidationError(
                _("This is not the fingerprint that reached the portal. Do not approve: another key may have come in between.")
            )
        return self.expected


class AcceptForm(VerbForm):
    name = forms.CharField(label=_("Your name"), max_length=120, widget=forms.TextInput({"autocomplete": "name"}))
    password = forms.CharField(
        label=_("Password"), strip=False, widget=forms.PasswordInput({"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html(),
    )
    again = forms.CharField(
        label=_("Password, again"), strip=False, widget=forms.PasswordInput({"autocomplete": "new-password"})
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("password") and data.get("again") and data["password"] != data["again"]:
            self.add_error("again", _("The two passwords differ."))
        if password := data.get("password"):
            try:
                validate_password(password, User(email=self.email, name=data.get("name", "")))
            except ValidationError as error:
                self.add_error("password", error)
        return data
