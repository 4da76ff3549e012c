"""``draft_plan``: a plan for a table, as YAML, for a person to edit."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from clientagent.wire.errors import Refusal
from rounds.rehearsal import tools


class Command(BaseCommand):
    help = "Drafts a plan for a table and writes it as YAML, for a person to edit."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--data", required=True, metavar="FILE", help="CSV or Parquet")
        parser.add_argument("--label", required=True, metavar="COLUMN")
        parser.add_argument("--positive", metavar="VALUE", help="what means default or fraud, compared as text (default 1)")
        parser.add_argument("--drop", metavar="A,B", help="columns that are no features")
        parser.add_argument("--categorical", metavar="A,B", help="categorical columns, instead of guessing")
        parser.add_argument("--participants", metavar="A,B", help="short names of the institutions")
        parser.add_argument("--project", metavar="SLUG", help="the project's short name (default: from the file's name)")
        parser.add_argument("-o", "--output", metavar="FILE", help="write here instead of to standard output")

    def handle(self, **options: Any) -> None:
        names = ("data", "label", "positive", "drop", "categorical", "participants")
        argv = [text for name in names for text in tools.option(name, options[name])]
        project = options["project"] or tools.project_named_after(Path(options["data"]))
        try:
            text = tools.run("draft", *argv, "--project", project)
        except Refusal as refusal:
            raise CommandError(f"{refusal.sentence}. {refusal.action}") from refusal
        if options["output"]:
            Path(options["output"]).write_text(text, encoding="utf-8")
            self.stdout.write(f"Wrote {options['output']}")
        else:
            self.stdout.write(text, ending="")
