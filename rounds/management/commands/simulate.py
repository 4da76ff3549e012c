"""``simulate``: a rehearsal of a federation on one table, with the real portal, real HTTP and real agents."""

from __future__ import annotations

import json
import secrets
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from clientagent.wire.capabilities import require_supported
from clientagent.wire.combinations import require_combinable
from clientagent.wire.errors import Refusal
from clientagent.wire.plan import Plan
from rounds.rehearsal import faults, planning, processes, report, scratch, tools
from rounds.rehearsal.banks import Bank, remembered
from rounds.rehearsal.federation import assemble, started
from rounds.rehearsal.watching import follow

DEFAULT_TOP = 8


class Command(BaseCommand):
    help = "Rehearses a federation on one table: real portal, real HTTP, real agent processes, a scratch database."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("plan", nargs="?", metavar="PLAN.yaml", help="the plan; drafted from the table if left out")
        parser.add_argument("--data", required=True, metavar="FILE", help="CSV or Parquet")
        parser.add_argument("--label", required=True, metavar="COLUMN")
        parser.add_argument("--positive", metavar="VALUE", help="what means default or fraud, compared as text (default 1)")
        parser.add_argument("--drop", default="", metavar="A,B", help="columns that are no features")
        parser.add_argument("--categorical", metavar="A,B", help="categorical columns, instead of guessing")
        split = parser.add_mutually_exclusive_group(required=True)
        split.add_argument("--by", metavar="COLUMN", help="each of this column's largest values is an institution")
        split.add_argument("--banks", type=_positive, metavar="N", help="split the rows among bank-1 to bank-N")
        parser.add_argument("--top", type=_positive, metavar="K", help=f"with --by: how many values (default {DEFAULT_TOP})")
        parser.add_argument("--skew", metavar="HOW", help="with --banks: iid (default), label:A or quantity:R")
        parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="settings_of_plan")
        parser.add_argument("--fault", action="append", default=[], metavar="BANK:ROUND:PHASE:ACTION", dest="fault_texts")
        parser.add_argument("--seed", type=_seed, metavar="S", help="of the split and of training.seed (default 0)")
        parser.add_argument("--no-reference", action="store_true", help="leave out the centralised and local models")
        parser.add_argument("--json", metavar="OUT", help="write the result here ('-': standard output)")

    def handle(self, **options: Any) -> None:
        if options["top"] and not options["by"] or options["skew"] and not options["banks"]:
            raise CommandError("--top goes with --by, and --skew with --banks", returncode=2)
        out = options["json"]
        if out and out != "-" and not Path(out).resolve().parent.is_dir():
            raise CommandError(f"--json {out}: there is no such folder", returncode=2)
        if not scratch.is_inside():
            scratch.begin_again(scratch.fresh_folder())
        with scratch.removed_afterwards(settings.FEDPORTAL_DATA_DIR), processes.ended_by_signals():
            try:
                result = Rehearsal(options).run()
            except Refusal as refusal:
                raise CommandError(f"{refusal.sentence}. {refusal.action}") from refusal
            except KeyboardInterrupt:
                raise CommandError("stopped", returncode=130) from None
            self._show(result, out)

    def _show(self, result: dict[str, Any], out: str | None) -> None:
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        if out == "-":
            self.stdout.write(text, ending="")
            return
        if out:
            Path(out).write_text(text, encoding="utf-8")
        self.stdout.write(report.rounds_table(result["rounds"]))
        self.stdout.write("\n" + report.scores_text(result))
        self.stdout.write(f"\nplan {result['plan_hash'][:16]}, model {result['model_digest'][:16]}")


class Rehearsal:
    """One ``simulate``, from the command's options to the result."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.folder = Path(settings.FEDPORTAL_DATA_DIR)
        self.seed = options["seed"] or 0
        self._began = time.monotonic()

    def run(self) -> dict[str, Any]:
        plan_file = planning.read_plan_file(Path(self.options["plan"])) if self.options["plan"] else None
        injected = [faults.parse_fault(text) for text in self.options["fault_texts"]]
        positive = self.options["positive"] or planning.positive_of(plan_file or {})
        with started(self.folder, port=0, with_torch=True) as (portal, host):
            self.say("splitting the table while the portal starts")
            banks = self._split(positive)
            plan = self._plan(plan_file, banks, positive)
            require_combinable(plan)
            require_supported(plan)
            faults.require_fit(injected, plan)
            host.foresee(plan)
            self.say(f"portal at {portal.wait()}; plan {plan.hash[:16]}, {len(banks)} banks")
            federation = assemble(
                portal, host, banks, project=plan.project, email="administrator@rehearsal.example",
                password=secrets.token_urlsafe(16), say=self.say, injected=injected,
            )
            self.say("all agents are enrolled and approved")
            run = federation.propose(plan, project_name=plan.project)
            federation.agents.start()
            run = follow(run, agents=federation.agents, portal=portal, say=self.say, user=federation.administrator)
            peak = portal.peak_rss_mb
        self.say("scoring all hold-out rows" + ("" if self.options["no_reference"] else "; training the references"))
        return report.result_of(
            run, folder=self.folder, reference=not self.options["no_reference"], peak_rss_mb=peak
        )

    def _split(self, positive: str | None) -> list[Bank]:
        options = self.options
        how = (
            ["--by", options["by"], "--top", str(options["top"] or DEFAULT_TOP)]
            if options["by"]
            else ["--banks", str(options["banks"]), *tools.option("skew", options["skew"])]
        )
        parts = tools.run_json(
            "split", *self._about(positive), *how, "--seed", str(self.seed), "--out", str(self.folder / "tables")
        )
        return remembered(parts, self.folder)

    def _about(self, positive: str | None) -> list[str]:
        return ["--data", self.options["data"], "--label", self.options["label"], *tools.option("positive", positive)]

    def _plan(self, from_file: planning.Document | None, banks: list[Bank], positive: str | None) -> Plan:
        options, slugs = self.options, [bank.slug for bank in banks]
        if from_file is not None:
            document = planning.adapt(
                from_file, label=options["label"], positive=options["positive"], by=options["by"], participants=slugs
            )
        else:
            document = planning.read_yaml(
                tools.run(
                    "draft", *self._about(positive), *tools.option("drop", options["drop"]),
                    *tools.option("categorical", options["categorical"]), *tools.option("by", options["by"]),
                    "--participants", ",".join(slugs), "--project", self._project,
                ), source="the draft",
            )  # fmt: skip
        plan = planning.finished(document, seed=options["seed"], settings=options["settings_of_plan"])
        return self._with_knowledge(plan) if from_file is None and plan.privacy.record_dp else plan

    def _with_knowledge(self, plan: Plan) -> Plan:
        """A drafted plan gets the bounds and categories that noise needs; a real one takes them from the data dictionary."""
        self.say("bounds of numbers and lists of categories are read off this table, in place of a data dictionary")
        return planning.with_knowledge(plan, data=self.options["data"], folder=self.folder)

    @property
    def _project(self) -> str:
        """The hold-out of a bank is fixed for a project, so another seed is another project."""
        return f"{tools.project_named_after(Path(self.options['data']))}-{self.seed}"

    def say(self, text: str) -> None:
        """Progress goes to standard error; standard output is the result."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**31:
        raise ValueError
    return number


EPILOG = """\
FIELD is dotted, VALUE is YAML: --set schedule.rounds=5 --set privacy.record_dp.epsilon=1 (a null object is created with
its defaults). A fault disturbs BANK in ROUND (a number or 'all'): PHASE is pulled, training or uploading (with secure
aggregation also keys, shares, masked, unmask); ACTION is drop, kill, slow or flip.
Exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 stopped.
"""
