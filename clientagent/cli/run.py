"""``fedagent run``: the agent's process."""

from __future__ import annotations

import os
import signal
from typing import Annotated, NoReturn

import typer

from clientagent.cli.options import DEFAULT_HOME, HomeOption
from clientagent.words import _, spoken


class Ended(BaseException):
    """Somebody asked this process to end. Not an ``Exception``, so that nothing on the way takes it for a trouble."""


@spoken
def run(
    once: Annotated[bool, typer.Option("--once", help=_("Do one piece of work, then end."))] = False,
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="S", min=0, help=_("End after S seconds without work."))
    ] = None,
    log_json: Annotated[bool, typer.Option("--log-json", help=_("Log as JSON lines."))] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help=_("Log each exchange."))] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Wait for work and do it.

    Decides on plans, counts, trains and uploads. Ends cleanly on Ctrl-C or SIGTERM; started again, it goes on.
    """
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # before numpy loads: one thread gives the same bits on every machine
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    try:
        _work(home, once=once, until_idle=until_idle, log_json=log_json, verbose=verbose)
    except Ended:
        pass


def _end(number: int, frame: object) -> NoReturn:
    raise Ended


def _work(home: os.PathLike[str], *, once: bool, until_idle: float | None, log_json: bool, verbose: bool) -> None:
    from pathlib import Path

    from clientagent.agent import Agent
    from clientagent.cli.bars import bars
    from clientagent.cli.logs import set_up_logs
    from clientagent.faults import Faults
    from clientagent.home import Home
    from clientagent.portal import Portal
    from clientagent.transport import Transport

    here = Home(Path(home))
    identity = here.require_identity()
    log = set_up_logs(as_json=log_json, verbose=verbose, institution=identity.institution)
    with here.locked():
        transport = Transport(identity.portal, here.key, patience_s=30)
        try:
            log.info("agent of %s at %s", identity.institution, identity.portal)
            faults = Faults.from_environment(here.path / "faults")
            with bars(wanted=not log_json) as watch:
                portal = Portal(transport, here, reached=faults.reached)
                Agent(here, portal, faults, watch=watch).run(once=once, until_idle_s=until_idle)
        except Ended:
            log.info("ended; whatever was finished is on disk")
        finally:
            transport.close()
