"""One look for every form field: label, control, help, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from django import forms, template
from django.forms.boundfield import BoundField

register = template.Library()


@register.inclusion_tag("institutions/field.html")
def field(bound: BoundField, autofocus: bool = False) -> dict[str, Any]:
    """A field of any form, allauth's included, in Tabler's classes."""
    widget = bound.field.widget
    kind = "form-check-input" if isinstance(widget, forms.CheckboxInput) else "form-control"
    if isinstance(widget, forms.Select):
        kind = "form-select"
    attrs: dict[str, str | bool] = {"class": kind + (" is-invalid" if bound.errors else "")}
    if autofocus:
        attrs["autofocus"] = "autofocus"
    widget.attrs.pop("placeholder", None)  # a label is there; grey text that vanishes is no label
    return {"field": bound, "control": bound.as_widget(attrs=attrs), "is_check": kind == "form-check-input"}
