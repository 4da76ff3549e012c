"""Where a test's portal processes come from: imports the portal once, then forks real processes that run its commands.

A portal that is killed two hundred times would spend most of the time on imports. Each child is a process of its own, with
nothing but imported modules behind it; it is what ``manage.py`` or ``celery`` would be after their imports. It talks in lines
of JSON as the rehearsal's host of agents does: in ``{"name", "argv", "env", "log"}``, out ``{"name", "pid"|"exit"}``.

Run as ``python -m tests.crash.nursery``, with the settings of one scratch portal in the environment.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, NoReturn

from clientagent.rehearsal.host import Host, _exit_code, _take_over


def import_once() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fedportal.settings")
    import celery.apps.worker
    import celery.bin.worker
    import celery.concurrency.thread
    import uvicorn.protocols.http.httptools_impl
    import uvicorn.protocols.websockets.websockets_impl
    from django.core.management import get_commands
    from django.db.migrations.loader import MigrationLoader

    import fedportal.asgi
    import fedportal.embedded
    import fedportal.management.commands.serve
    import fedportal.urls
    from fedportal.celery import app

    app.loader.import_default_modules()
    get_commands()
    MigrationLoader(None)


def manage(argv: list[str]) -> None:
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *argv])


def worker(argv: list[str]) -> None:
    from celery.bin.celery import main

    sys.argv = ["celery", "-A", "fedportal", "worker", *argv]
    main()


def console(argv: list[str]) -> None:
    from tests.crash.console import serve

    serve(*argv)


PROGRAMS = {"manage": manage, "worker": worker, "console": console}


class Nursery(Host):
    def _become_agent(self, message: dict[str, Any]) -> NoReturn:
        code = 1
        try:
            os.setpgid(0, 0)  # whatever it forks is killed with it, as a service manager would
            _take_over(message["log"], message.get("env", {}))
            program, *argv = message["argv"]
            code = _exit_code(lambda: PROGRAMS[program](argv))
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


if __name__ == "__main__":
    import_once()
    Nursery().serve()
