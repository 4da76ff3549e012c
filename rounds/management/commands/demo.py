"""``demo``: a federation of four demo banks on this machine, live in the browser, with data that the project makes itself."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import socket
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from clientagent.wire.errors import Refusal
from clientagent.wire.plan import Plan
from institutions.models import Role, User
from institutions.services import accept_invitation, invite_person
from rounds.models import Run
from rounds.rehearsal import planning, processes, report, scratch, tools
from rounds.rehearsal.banks import Bank, remembered
from rounds.rehearsal.federation import Federation, assemble, started
from rounds.rehearsal.watching import follow

SIGN_IN_S = 90.0
"""How long the run waits for somebody who wants to see it begin."""
CALM = ("training.learning_rate=0.001", "schedule.rounds=30")
"""Small steps and some more rounds: there is something to watch."""
MARK = ".fedportal-demo"
PROJECTS = {"credit": ("retail-credit", "Retail credit scoring"), "fraud": ("card-fraud", "Card fraud detection")}


class Command(BaseCommand):
    help = "Starts a portal, four demo banks with generated data and one run, live in the browser. Ctrl-C stops it all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--scenario", choices=sorted(PROJECTS), default="credit")
        parser.add_argument("--exit", action="store_true", help="end when the run has ended; print its rounds and metrics")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--seed", type=int, default=0, help="of the generated data and of the training")
        parser.add_argument("--folder", type=Path, help="where everything lies, made new each time (default var/demo)")
        parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", dest="settings_of_plan")

    def handle(self, **options: Any) -> None:
        folder = (options["folder"] or Path(settings.BASE_DIR) / "var" / "demo").resolve()
        with _only_one_in(folder):
            if not scratch.is_inside():
                _require_free(options["port"])
                _make_new(folder)
                scratch.begin_again(folder)
            self._run(options)

    def _run(self, options: dict[str, Any]) -> None:
        with processes.ended_by_signals():
            try:
                Demo(self, options).run()
            except Refusal as refusal:
                raise CommandError(f"{refusal.sentence}. {refusal.action}") from refusal
            except KeyboardInterrupt:
                self.stdout.write("\nStopped: portal and agents have ended.")


class Demo:
    """One demo, from an empty folder to the end of its run, or until Ctrl-C."""

    def __init__(self, command: BaseCommand, options: dict[str, Any]) -> None:
        self.options = options
        self.project, self.project_name = PROJECTS[options["scenario"]]
        self.folder = Path(settings.FEDPORTAL_DATA_DIR)
        self._command = command

    def run(self) -> None:
        self.say("Starting the portal and making the demo banks' data ...")
        with started(self.folder, port=self.options["port"], with_torch=True) as (portal, host):
            banks = self._make_banks()
            plan = self._draft(banks)
            host.foresee(plan)
            portal.wait()
            self.say(f"Enrolling {len(banks)} banks: {', '.join(bank.name for bank in banks)} ...")
            password = _password()
            federation = assemble(
                portal, host, banks, project=plan.project, email="administrator@demo.example", password=password,
                say=self.say,
            )
            self._welcome(federation, password)
            federation.agents.start()
            if not self.options["exit"]:
                self._await_sign_in(federation)
            run = federation.propose(plan, project_name=self.project_name, title="Demo")
            self.say(f"The run has begun: {portal.url}/runs/{run.pk}/")
            run = follow(run, agents=federation.agents, portal=portal, say=self.say, user=federation.administrator)
            self._tell(run, portal)
            if not self.options["exit"]:
                self._stay(federation)

    def _make_banks(self) -> list[Bank]:
        made = tools.run_json(
            "generate", "--scenario", self.options["scenario"], "--out", str(self.folder / "tables"),
            "--seed", str(self.options["seed"]),
        )
        self._label = made["label"]
        return remembered([{"institution": part["slug"], **part} for part in made["banks"]], self.folder)

    def _draft(self, banks: list[Bank]) -> Plan:
        text = tools.run(
            "draft", "--data", str(banks[0].table), "--label", self._label["name"],
            "--positive", str(self._label["positive"]), "--project", self.project,
            "--participants", ",".join(bank.slug for bank in banks),
        )
        document = {**planning.read_yaml(text, source="the draft"), "purpose": self.options["scenario"]}
        asked = self.options["settings_of_plan"]
        private = any(setting.startswith("privacy.record_dp") for setting in asked)  # its budget leaves none for telling gains
        settings_of_plan = [*CALM, *([] if private else ["evaluation.gains=true"]), *asked]
        return planning.finished(document, seed=self.options["seed"], settings=settings_of_plan)

    def _welcome(self, federation: Federation, password: str) -> None:
        """The address and three ways in. The passwords are random, and the portal listens on this machine only."""
        bank = federation.institutions[0]
        people = [("administrator", federation.administrator.email, password)]
        for role, institution in ((Role.OPERATOR, bank), (Role.AUDITOR, None)):
            people.append((str(role), *self._invite(federation, role, institution)))
        rows = "\n".join(f"    {role:<14} {email:<34} {secret}" for role, email, secret in people)
        self.say(
            f"\n  fedportal is at {federation.portal.url}\n\n{rows}\n\n"
            f"  (the operator works at {bank.name}; everything lies under {self.folder})\n"
        )

    def _invite(self, federation: Federation, role: Role, institution: Any) -> tuple[str, str]:
        email = f"{role}@{institution.slug if institution else 'demo'}.example"
        password = _password()
        issued = invite_person(email=email, role=role, by=federation.administrator, institution=institution)
        accept_invitation(token=issued.token, name=str(role).capitalize(), password=password)
        return email, password

    def _await_sign_in(self, federation: Federation) -> None:
        self.say(f"The run begins when you have signed in, or in {SIGN_IN_S:.0f} seconds. Ctrl-C stops everything.")
        until = time.monotonic() + SIGN_IN_S
        while time.monotonic() < until and not User.objects.filter(last_login__isnull=False).exists():
            federation.agents.look(0.5)

    def _tell(self, run: Run, portal: processes.Portal) -> None:
        self.say("Scoring all hold-out rows, and training what a bank alone and all rows in one place would reach ...")
        result = report.result_of(run, folder=self.folder, reference=True, peak_rss_mb=portal.peak_rss_mb)
        self.say("\n" + report.rounds_table(result["rounds"]) + "\n\n" + report.scores_text(result))

    def _stay(self, federation: Federation) -> None:
        self.say(f"\nThe portal and the banks stay: look around, or start another run at {federation.portal.url}. Ctrl-C stops.")
        while federation.portal.is_alive:
            federation.agents.look(1.0)
        raise CommandError("the portal has ended")

    def say(self, text: str) -> None:
        self._command.stdout.write(text)
        self._command.stdout.flush()


def _password() -> str:
    return secrets.token_urlsafe(12)


@contextlib.contextmanager
def _only_one_in(folder: Path) -> Iterator[None]:
    """A second demo does not take the first one's folder away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(f"another demo is running in {folder}. Stop it, or choose --folder and --port.") from error
        yield


def _make_new(folder: Path) -> None:
    """Removes the demo before; anything else that lies there is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise CommandError(f"{folder} is not a demo's folder: choose another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def _require_free(port: int) -> None:
    """Two portals cannot have one port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"port {port} is in use ({error.strerror}): another demo may be running. Stop it, or choose --port."
            ) from error
