"""One federation from nothing to running: portal, administrator, banks, project, frozen plan, agents."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clientagent.wire.plan import Plan
from institutions.models import Institution, User
from institutions.services import create_administrator
from rounds.models import Run
from rounds.rehearsal import banks as bank_desk
from rounds.rehearsal.banks import Agents, Bank
from rounds.rehearsal.faults import Fault
from rounds.rehearsal.hosting import AgentHost
from rounds.rehearsal.processes import Portal
from rounds.services import create_project, freeze_plan, propose_run


@dataclass
class Federation:
    """What was started, so that it can be watched and stopped."""

    portal: Portal
    host: AgentHost
    administrator: User
    institutions: list[Institution]
    agents: Agents

    def propose(self, plan: Plan, *, project_name: str, title: str = "") -> Run:
        """Project, frozen plan and proposed run, as the administrator makes them."""
        project = create_project(
            slug=plan.project, name=project_name, purpose=plan.purpose, participants=self.institutions,
            user=self.administrator,
        )
        frozen = freeze_plan(project=project, plan=plan, title=title, user=self.administrator)
        return propose_run(plan=frozen, user=self.administrator)


@contextlib.contextmanager
def started(folder: Path, *, port: int, with_torch: bool) -> Iterator[tuple[Portal, AgentHost]]:
    """Portal and agents' host, stopped in the end whatever happens: first the agents, then what they talk to."""
    with contextlib.ExitStack() as stack:
        portal = Portal(port=port, log=folder / "portal.log")
        stack.callback(portal.stop)
        host = AgentHost(log=folder / "agents.log", with_torch=with_torch)
        stack.callback(host.stop)
        yield portal, host


def assemble(
    portal: Portal, host: AgentHost, banks: Sequence[Bank], *, project: str, email: str, password: str,
    say: Callable[[str], None], injected: Sequence[Fault] = (),
) -> Federation:
    """Administrator, institutions and approved agents with their policies; no agent runs yet."""
    administrator = create_administrator(email=email, password=password, name="Administrator")
    institutions = bank_desk.invite(banks, by=administrator)
    bank_desk.enrol(banks, institutions, host=host, url=portal.url, by=administrator)
    bank_desk.write_policies(banks, project=project)
    return Federation(portal, host, administrator, institutions, Agents(banks, host, say, injected))
