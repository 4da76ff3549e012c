"""``create_administrator``: the first way in, from the command line of the portal's machine."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from clientagent.wire.errors import Refusal
from institutions.models import User
from institutions.services import create_administrator

PASSWORD_VARIABLE = "FEDPORTAL_ADMIN_PASSWORD"


class Command(BaseCommand):
    help = "Makes an administrator of the consortium. Asks for what is not given."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--email", default="", help="the address to sign in with")
        parser.add_argument("--name", default="", help="the person's name")
        parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")

    def handle(self, *, email: str, name: str, password_stdin: bool, **options: Any) -> None:
        email = email or _ask("E-mail: ")
        password = self._password(password_stdin)
        try:
            validate_password(password, User(email=email, name=name))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        try:
            user = create_administrator(email=email, password=password, name=name)
        except Refusal as refusal:
            raise CommandError(f"{refusal.sentence}. {refusal.action}") from refusal
        self.stdout.write(f"{user.email} is an administrator now and can sign in.")

    def _password(self, from_stdin: bool) -> str:
        if from_stdin:
            return sys.stdin.readline().rstrip("\n")
        if PASSWORD_VARIABLE in os.environ:
            return os.environ[PASSWORD_VARIABLE]
        if not sys.stdin.isatty():
            raise CommandError(f"no password: use --password-stdin or set {PASSWORD_VARIABLE}")
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Password, again: "):
            raise CommandError("the two passwords differ")
        return password


def _ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise CommandError("no e-mail address: use --email")
    return input(question).strip()
