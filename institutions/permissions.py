"""Who may do what: the role of a person, and the doors that ask for one. 403 for a role, 404 for another bank's things."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from institutions.models import Institution, Membership, Role, User

Person = User | AnonymousUser | None
View = TypeVar("View", bound=Callable[..., Any])


def membership_of(user: Person) -> Membership | None:
    """The person's seat, read once for each user object. A socket that lives long must load its user anew."""
    if not isinstance(user, User):
        user = getattr(user, "_wrapped", user)  # request.user is lazy
    if user is None or not user.is_authenticated or not user.is_active:
        return None
    if not hasattr(user, "_seat"):
        seats = Membership.objects.select_related("institution")
        user._seat = seats.filter(user_id=user.pk).first()  # type: ignore[union-attr,misc]
    return user._seat  # type: ignore[union-attr]


def role_of(user: Person) -> Role | None:
    seat = membership_of(user)
    return Role(seat.role) if seat else None


def institution_of(user: Person) -> Institution | None:
    """The operator's institution; None for everybody else."""
    seat = membership_of(user)
    return seat.institution if seat else None


def require_role(*roles: Role) -> Callable[[View], View]:
    """A view for these roles only; without arguments, for every member. Strangers are sent to sign in."""

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @functools.wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
                refused = await sync_to_async(_turn_away)(request, roles)
                return refused or await view(request, *args, **kwargs)

            return cast(View, guarded_async)

        @functools.wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            return _turn_away(request, roles) or view(request, *args, **kwargs)

        return cast(View, guarded)

    return decorate


def _turn_away(request: HttpRequest, roles: tuple[Role, ...]) -> HttpResponseBase | None:
    user: Person = request.user
    if user is None or not user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    role = role_of(user)
    if role is None or (roles and role not in roles):
        raise PermissionDenied
    return None


class IsMember(BasePermission):
    """DRF: any person with a seat."""

    roles: tuple[Role, ...] = ()

    def has_permission(self, request: Request, view: Any) -> bool:
        role = role_of(request.user)
        return role is not None and (not self.roles or role in self.roles)


class IsAuditor(IsMember):
    """DRF: who may read everything."""

    roles = (Role.AUDITOR, Role.ADMINISTRATOR)
