"""``backup FILE``: a consistent copy of database, blobs and keys."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from fedportal.backup import write_backup


class Command(BaseCommand):
    help = "Writes database, blobs and the portal's keys into one file (mode 0600: it holds the portal's private key)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the archive to write, for example portal.tar.gz")

    def handle(self, *, file: Path, **options: Any) -> None:
        if file.exists():
            raise CommandError(f"{file} exists already; choose another name")
        if not file.resolve().parent.is_dir():
            raise CommandError(f"{file.resolve().parent} is not a folder")
        counts = write_backup(file, tell=lambda text: self.stderr.write(text))
        self.stdout.write(f"{file}: {counts['rows']} rows and {counts['files']} files. Keep it as safe as the portal itself.")
