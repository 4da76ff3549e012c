"""People come by invitation, hold one seat, and leave at once."""

from __future__ import annotations

import datetime as dt
import io
import threading

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from clientagent.wire.errors import IllegalMove, Malformed, NotFound, Refusal
from institutions import services
from institutions.models import Institution, Invitation, Membership, Role, User
from institutions.permissions import role_of
from tests.cast import PASSWORD, Bank, browser, make_person


def accept(token: str, **more: str) -> tuple[Client, int]:
    client = Client()
    data = {"name": "Nora", "password": PASSWORD, "again": PASSWORD, **more}
    return client, client.post(reverse("institutions:accept", args=[token]), data).status_code


def test_an_invited_person_sets_a_password_and_is_in(north: Bank, admin: User) -> None:
    issued = services.invite_person(email="Nora@North.Example", role=Role.OPERATOR, by=admin, institution=north.institution)
    client, status = accept(issued.token)
    assert status == 302
    assert client.get(reverse("institutions:detail", args=["north"])).status_code == 200
    assert User.objects.get(email="nora@north.example").check_password(PASSWORD)


def test_an_invitation_works_once(north: Bank, admin: User) -> None:
    issued = services.invite_person(email="nora@north.example", role=Role.OPERATOR, by=admin, institution=north.institution)
    accept(issued.token)
    assert accept(issued.token)[1] == 404
    with pytest.raises(NotFound):
        services.accept_invitation(token=issued.token, name="Eve", password=PASSWORD)


def test_an_invitation_expires(admin: User) -> None:
    issued = services.invite_person(
        email="a@b.example", role=Role.AUDITOR, by=admin, valid_for=dt.timedelta(seconds=-1)
    )
    assert accept(issued.token)[1] == 404


def test_a_second_invitation_ends_the_first(admin: User) -> None:
    first = services.invite_person(email="a@b.example", role=Role.AUDITOR, by=admin)
    second = services.invite_person(email="a@b.example", role=Role.AUDITOR, by=admin)
    assert accept(first.token)[1] == 404
    assert accept(second.token)[1] == 302


def test_a_token_is_kept_only_as_its_hash(admin: User) -> None:
    issued = services.invite_person(email="a@b.example", role=Role.AUDITOR, by=admin)
    assert issued.token not in str(Invitation.objects.values().get())


@pytest.mark.parametrize(
    ("password", "again"), [("short", "short"), ("correct horse battery", "different horse"), ("a@b.example1", "a@b.example1")]
)
def test_a_bad_password_leaves_the_invitation_open(admin: User, password: str, again: str) -> None:
    issued = services.invite_person(email="a@b.example", role=Role.AUDITOR, by=admin)
    assert accept(issued.token, password=password, again=again)[1] == 200
    assert Invitation.objects.get().used_at is None


def test_an_operator_needs_an_institution_and_nobody_else_has_one(north: Bank, admin: User) -> None:
    with pytest.raises(Malformed):
        services.invite_person(email="a@b.example", role=Role.OPERATOR, by=admin)
    with pytest.raises(Malformed):
        services.invite_person(email="a@b.example", role=Role.AUDITOR, by=admin, institution=north.institution)


@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.AUDITOR])
def test_the_database_keeps_roles_and_institutions_together(north: Bank, role: Role) -> None:
    user = User.objects.make(email="x@y.example", password=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(user=user, role=role, institution=north.institution)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(user=user, role=Role.OPERATOR)


def test_a_person_has_one_seat(north: Bank, south: Bank, admin: User) -> None:
    with pytest.raises(IllegalMove):
        services.invite_person(email=north.operator.email, role=Role.OPERATOR, by=admin, institution=south.institution)
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(user=north.operator, role=Role.OPERATOR, institution=south.institution)


def test_one_address_is_one_person_in_any_case(north: Bank) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.make(email="OPERATOR@north.example", password=None)
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.filter(pk=north.operator.pk).update(email="OPERATOR@north.example")


def test_a_removed_member_is_out_at_once(north: Bank, admin: User) -> None:
    client = north.browser()
    assert client.get(reverse("institutions:list")).status_code == 200
    services.remove_member(member=north.operator.membership, by=admin, reason="left the bank")
    assert client.get(reverse("institutions:list")).status_code == 302
    assert not Client().login(email=north.operator.email, password=PASSWORD)


def test_whoever_left_can_come_back_by_a_new_invitation(north: Bank, south: Bank, admin: User) -> None:
    services.remove_member(member=north.operator.membership, by=admin, reason="left the bank")
    back = make_person(north.operator.email, Role.OPERATOR, by=admin, institution=south.institution)
    assert back.pk == north.operator.pk
    assert back.membership.institution == south.institution


def test_a_role_changes_at_once(north: Bank, admin: User) -> None:
    client = north.browser()
    services.change_role(member=north.operator.membership, role=Role.AUDITOR, by=admin)
    assert role_of(User.objects.get(pk=north.operator.pk)) == Role.AUDITOR
    assert client.get(reverse("institutions:people")).status_code == 200


def test_the_last_administrator_stays(admin: User) -> None:
    with pytest.raises(IllegalMove):
        services.remove_member(member=admin.membership, by=admin, reason="oops")
    with pytest.raises(IllegalMove):
        services.change_role(member=admin.membership, role=Role.AUDITOR, by=admin)


@pytest.mark.django_db(transaction=True)
def test_two_administrators_who_remove_each_other_leave_one(admin: User) -> None:
    other = make_person("bob@consortium.example", Role.ADMINISTRATOR, by=admin)
    barrier, outcomes = threading.Barrier(2), []

    def remove(victim: User, by: User) -> None:
        member = Membership.objects.select_related("user").get(user=victim)
        barrier.wait()
        try:
            services.remove_member(member=member, by=by, reason="coup")
            outcomes.append("removed")
        except Refusal as refusal:
            outcomes.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=remove, args=pair) for pair in ((admin, other), (other, admin))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["illegal_move", "removed"]
    assert Membership.objects.filter(role=Role.ADMINISTRATOR).count() == 1


def test_an_invitation_is_mailed_and_its_link_works(admin: User) -> None:
    page = browser(admin).post(reverse("institutions:invite-person"), {"email": "a@b.example", "role": "auditor"})
    link = page.context["link"]
    assert link in mail.outbox[0].body
    assert link in page.content.decode()
    assert Client().get(link.removeprefix("http://testserver")).status_code == 200


def test_nobody_signs_up(admin: User) -> None:
    data = {"email": "eve@evil.example", "password1": PASSWORD, "password2": PASSWORD}
    page = Client().post(reverse("account_signup"), data)
    assert b"By invitation only" in page.content
    assert not User.objects.filter(email="eve@evil.example").exists()


def test_a_member_signs_in_with_the_address_in_any_case(auditor: User) -> None:
    client = Client()
    response = client.post(reverse("account_login"), {"login": "AUDITOR@consortium.example", "password": PASSWORD})
    assert response.status_code == 302
    assert client.get(reverse("institutions:people")).status_code == 200


def test_a_forgotten_password_is_reset_by_mail(auditor: User) -> None:
    client = Client()
    client.post(reverse("account_reset_password"), {"email": auditor.email})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/key/" in word)
    form = client.get(link.removeprefix("http://testserver"), follow=True)
    action = form.redirect_chain[-1][0]
    client.post(action, {"password1": "another long password", "password2": "another long password"})
    auditor.refresh_from_db()
    assert auditor.check_password("another long password")


def test_an_unknown_address_gets_no_letter_and_the_same_answer(auditor: User) -> None:
    known = Client().post(reverse("account_reset_password"), {"email": auditor.email})
    unknown = Client().post(reverse("account_reset_password"), {"email": "nobody@example.com"})
    assert known.status_code == unknown.status_code == 302
    assert [letter.to for letter in mail.outbox] == [[auditor.email]]


def test_the_first_administrator_comes_from_the_command_line(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a rather long password\n"))
    said = io.StringIO()
    call_command("create_administrator", email="Root@Consortium.Example", password_stdin=True, stdout=said)
    user = User.objects.get()
    assert role_of(user) == Role.ADMINISTRATOR
    assert user.check_password("a rather long password")
    assert "root@consortium.example" in said.getvalue()


@pytest.mark.parametrize(("email", "password"), [("root@x.example", "short"), ("no address", "a rather long password")])
def test_a_bad_administrator_is_refused(db: None, monkeypatch: pytest.MonkeyPatch, email: str, password: str) -> None:
    monkeypatch.setenv("FEDPORTAL_ADMIN_PASSWORD", password)
    with pytest.raises(CommandError):
        call_command("create_administrator", email=email)
    assert not User.objects.exists()


def test_an_institution_is_invited_by_a_proper_short_name(admin: User, north: Bank) -> None:
    for slug in ("", "North", "-x", "a b", "x" * 64, "nörd", "north\n"):
        with pytest.raises(Malformed):
            services.invite_institution(slug=slug, name="X", by=admin)
    with pytest.raises(IllegalMove):
        services.invite_institution(slug="north", name="Again", by=admin)
    assert Institution.objects.count() == 1


def test_suspending_twice_is_no_move(north: Bank, admin: User) -> None:
    services.suspend_institution(institution=north.institution, by=admin, reason="once")
    with pytest.raises(IllegalMove):
        services.suspend_institution(institution=north.institution, by=admin, reason="twice")


def test_a_second_factor_once_switched_on_is_asked_for(auditor: User) -> None:
    client = Client()
    client.post(reverse("account_login"), {"login": auditor.email, "password": PASSWORD})
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    secret = client.get(reverse("mfa_activate_totp")).context["form"].secret
    code = format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time()))))
    assert client.post(reverse("mfa_activate_totp"), {"code": code}).status_code == 302
    recovery = client.get(reverse("mfa_view_recovery_codes")).context["unused_codes"]
    assert b"On: signing in also asks" in client.get(reverse("mfa_index")).content
    other = Client()
    first = other.post(reverse("account_login"), {"login": auditor.email, "password": PASSWORD})
    assert first["Location"].startswith(reverse("mfa_authenticate"))
    assert other.get(reverse("institutions:people")).status_code == 302
    assert other.post(reverse("mfa_authenticate"), {"code": "000000"}).status_code == 200
    other.post(reverse("mfa_authenticate"), {"code": recovery[0]})
    assert other.get(reverse("institutions:people")).status_code == 200
