"""The banks of a rehearsal: invited, enrolled through the portal's own door, approved, started, and started again if killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clientagent.wire.errors import Refusal
from institutions import services
from institutions.models import Agent, Institution, User
from rounds.rehearsal import faults
from rounds.rehearsal.faults import Fault
from rounds.rehearsal.hosting import AgentHost, Ended
from rounds.rehearsal.processes import last_words

ENROL_TIMEOUT_S = 60.0
TABLES = "banks.json"
"""Which table belongs to which bank, as the split wrote it."""


class BankFailed(Refusal):
    code = "bank_failed"
    advice = "Read the agent's log named here."


@dataclass(frozen=True)
class Bank:
    """One institution, its table and its agent's directory."""

    slug: str
    name: str
    table: Path
    home: Path

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.slug}.log"


def remembered(parts: Sequence[Mapping[str, Any]], folder: Path) -> list[Bank]:
    """The banks of a split; what they are stays in ``banks.json``, for scoring."""
    (folder / TABLES).write_text(json.dumps(list(parts)))
    homes = folder / "homes"
    return [Bank(p["institution"], p["name"], Path(p["path"]), homes / p["institution"]) for p in parts]


def invite(banks: Sequence[Bank], *, by: User) -> list[Institution]:
    return [services.invite_institution(slug=bank.slug, name=bank.name, by=by) for bank in banks]


def enrol(banks: Sequence[Bank], institutions: Sequence[Institution], *, host: AgentHost, url: str, by: User) -> None:
    """Each agent makes its key and enrols with its code; the administrator compares fingerprints and approves."""
    for bank, institution in zip(banks, institutions, strict=True):
        bank.home.mkdir(parents=True, mode=0o700)
        code = services.issue_enrolment_code(institution=institution, by=by).code
        host.call(
            bank.slug, "enrol", url, "--code", code, "--name", f"{bank.slug}-agent", "--home", str(bank.home), log=bank.log
        )
    waiting, until = {bank.slug: bank for bank in banks}, time.monotonic() + ENROL_TIMEOUT_S
    while waiting:
        ended = host.ended(timeout_s=max(0.0, until - time.monotonic()) or 0.001)
        if ended is None:
            raise BankFailed(expected="enrolled agents", got=f"no answer of {', '.join(waiting)}")
        bank = waiting.pop(ended.name)
        if ended.code:
            raise _failure(bank, ended)
        _approve(bank, by)


def _approve(bank: Bank, by: User) -> None:
    """As the administrator does: the fingerprint that the bank reads out is compared with the one that is waiting here."""
    said = json.loads((bank.home / "agent.json").read_text())
    agent = Agent.objects.get(pk=said["agent_id"], institution__slug=bank.slug)
    services.approve_agent(agent=agent, fingerprint=said["key_fingerprint"], by=by)


def write_policies(banks: Sequence[Bank], *, project: str) -> None:
    """Each bank accepts plans of this project by its own policy, and names its table."""
    for bank in banks:
        (bank.home / "policy.toml").write_text(
            f"trust_portal_approvals = false\n\n[accept]\nprojects = [{_toml(project)}]\n\n"
            f"[data.{_toml(project)}]\npath = {_toml(str(bank.table))}\nlineage = {_toml(f'{bank.slug}-customers')}\n",
            encoding="utf-8",
        )


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class Agents:
    """The running agents of all banks."""

    def __init__(
        self, banks: Sequence[Bank], host: AgentHost, say: Callable[[str], None], injected: Sequence[Fault] = ()
    ) -> None:
        self._banks = {bank.slug: bank for bank in banks}
        self._host, self._say, self._injected = host, say, injected
        self.gone: dict[str, str] = {}

    def start(self) -> None:
        for slug in self._banks:
            self._run(slug)

    def look(self, timeout_s: float) -> None:
        """Wait up to this long; an agent that was killed is started again, as a bank's service manager would."""
        ended = self._host.ended(timeout_s)
        if ended is None:
            return
        if ended.code < 0:
            self._say(f"{ended.name}: its agent was killed (signal {-ended.code}); started again")
            self._run(ended.name)
        else:
            self.gone[ended.name] = _failure(self._banks[ended.name], ended).sentence
            self._say(f"{ended.name}: its agent has ended. {self.gone[ended.name]}")

    def _run(self, slug: str) -> None:
        bank = self._banks[slug]
        self._host.call(
            slug, "run", "--home", str(bank.home), log=bank.log, env=faults.for_agent(self._injected, slug)
        )


def _failure(bank: Bank, ended: Ended) -> BankFailed:
    return BankFailed(
        expected=f"an agent of {bank.slug} that works", got=last_words(bank.log) or f"exit code {ended.code}",
        action=f"Read {bank.log}.",
    )
