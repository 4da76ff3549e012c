"""``restore FILE``: fill an empty portal from a backup and open a new epoch."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from fedportal.backup import read_backup


class Command(BaseCommand):
    help = "Fills an empty portal from a backup. Agents are told by a new epoch that what came after the backup is gone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="an archive that 'backup' wrote")

    def handle(self, *, file: Path, **options: Any) -> None:
        if not file.is_file():
            raise CommandError(f"{file} is not a file")
        call_command("migrate", interactive=False, verbosity=0)
        epoch = read_backup(file, tell=lambda text: self.stderr.write(text))
        self.stdout.write(f"restored from {file}; this is epoch {epoch}. Start the portal with 'manage.py serve'.")
