"""Institutions: the banks of the consortium."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

SLUG_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}\Z"  # as Slug on the wire


class Institution(models.Model):
    """A bank. ``invited`` until its first person or agent has come, ``suspended`` while it may neither train nor speak."""

    class State(models.TextChoices):
        INVITED = "invited", _("invited")
        ACTIVE = "active", _("active")
        SUSPENDED = "suspended", _("suspended")

    slug = models.CharField(_("short name"), max_length=63, unique=True, validators=[RegexValidator(SLUG_PATTERN)])
    name = models.CharField(_("name"), max_length=120)
    state = models.CharField(max_length=10, choices=State, default=State.INVITED)
    created_at = models.DateTimeField(auto_now_add=True)
    note = models.TextField(_("note"), blank=True, max_length=2000)

    class Meta:
        ordering = ["slug"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["invited", "active", "suspended"]), name="institution_state_is_known"
            ),
            models.CheckConstraint(condition=~Q(slug=""), name="institution_has_a_slug"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_suspended(self) -> bool:
        return self.state == self.State.SUSPENDED
