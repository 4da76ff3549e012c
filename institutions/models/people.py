"""People: who they are, the one role that each holds, and the invitations by which they come."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils.translation import gettext_lazy as _

from institutions.models.institution import Institution


class Role(models.TextChoices):
    ADMINISTRATOR = "administrator", _("administrator")
    OPERATOR = "operator", _("operator")
    AUDITOR = "auditor", _("auditor")


ROLE_FITS_INSTITUTION = Q(role=Role.OPERATOR, institution__isnull=False) | Q(
    role__in=[Role.ADMINISTRATOR, Role.AUDITOR], institution__isnull=True
)


class People(BaseUserManager["User"]):
    """E-mail addresses are kept in lower case, so that one person cannot be two."""

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").lower())

    def make(self, *, email: str, password: str | None, name: str = "") -> User:
        user = self.model(email=email.lower(), name=name)
        user.set_password(password)
        user.save()
        return user


class User(AbstractBaseUser):
    """A person, named by e-mail. What they may do stands in their membership, nowhere else."""

    email = models.EmailField(_("e-mail"), unique=True)
    name = models.CharField(_("name"), max_length=120, blank=True)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(auto_now_add=True)

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[People] = People()

    class Meta:
        ordering = ["email"]
        constraints = [models.CheckConstraint(condition=Q(email=Lower("email")), name="email_is_lower_case")]

    def __str__(self) -> str:
        return self.name or self.email

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.email = self.email.lower()
        super().save(*args, **kwargs)

    @property
    def actor(self) -> str:
        """How the ledger names this person."""
        return f"user:{self.email}"


class Membership(models.Model):
    """The one seat of a person: whoever audits does not also administer, and an operator serves one institution."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="membership")
    role = models.CharField(max_length=13, choices=Role)
    institution = models.ForeignKey(Institution, null=True, blank=True, on_delete=models.PROTECT, related_name="members")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["user__email"]
        constraints = [models.CheckConstraint(condition=ROLE_FITS_INSTITUTION, name="only_operators_have_an_institution")]

    def __str__(self) -> str:
        return f"{self.user}: {self.role}"


class Invitation(models.Model):
    """A link that makes its bearer a member, once and for a while. Only the token's hash is kept."""

    token_hash = models.CharField(max_length=64, unique=True)
    email = models.EmailField(_("e-mail"))
    role = models.CharField(max_length=13, choices=Role)
    institution = models.ForeignKey(
        Institution, null=True, blank=True, on_delete=models.PROTECT, related_name="invitations"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.CheckConstraint(condition=ROLE_FITS_INSTITUTION, name="invitation_fits_its_role")]

    def __str__(self) -> str:
        return f"{self.email}: {self.role}"

    def is_open(self, now: dt.datetime) -> bool:
        return self.used_at is None and now < self.expires_at
