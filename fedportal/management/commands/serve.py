"""``serve``: portal, worker and beat in one process. The embedded default: SQLite, and no service beside it."""

from __future__ import annotations

import os
import signal
import socket
import sys
from argparse import ArgumentParser
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from fedportal.memory import collect_rarely, keep_few_arenas

GRACE_S = 2
"""How long a stopping server waits for answers under way; a long poll asks again elsewhere."""
KEEP_ALIVE_S = 75
"""Longer than agents keep an idle connection, so that none sends into one that was just closed."""


class Command(BaseCommand):
    help = "Serves the portal, with its worker, in one process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0: any free port (default 8000)")
        parser.add_argument("--no-worker", action="store_true", help="only the web part; run Celery beside it")

    def handle(self, *, host: str, port: int, no_worker: bool, **options: Any) -> None:
        keep_few_arenas()
        _require_broker(own_worker=not no_worker)
        listener = _listen(host, port)
        call_command("migrate", interactive=False, verbosity=0)
        published = f" (published as {settings.FEDPORTAL_URL})" if settings.FEDPORTAL_URL else ""
        self.stdout.write(f"fedportal is at {_address(listener)}{published}")
        self.stdout.flush()
        engine = None
        if not no_worker:
            from fedportal.embedded import Engine

            engine = Engine()
            engine.start()
        # uvicorn ends by raising the signal again that stopped it; that is no failure here
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: None)
        server = _server()
        server.config.load()
        collect_rarely()
        server.run(sockets=[listener])
        if engine:
            engine.stop()
        self.stdout.write("fedportal has stopped")
        self.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # threads may wait on a task for long; whatever was under way goes on from its rows


def _require_broker(*, own_worker: bool) -> None:
    in_memory = settings.CELERY_BROKER_URL.startswith("memory:")
    if own_worker and not in_memory:
        raise CommandError("REDIS_URL is set: add --no-worker, and run 'celery -A fedportal worker -B -P threads' beside")
    if not own_worker and in_memory:
        raise CommandError("without its own worker the portal needs a broker that others hear: set REDIS_URL")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise CommandError(f"cannot listen on {host} port {port}: {error.strerror}. Try --port 0.") from error
    listener.listen(2048)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server() -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            "fedportal.asgi:application", lifespan="off", log_config=None, access_log=False,
            ws_per_message_deflate=False, timeout_graceful_shutdown=GRACE_S, timeout_keep_alive=KEEP_ALIVE_S, server_header=False,
            proxy_headers=True, forwarded_allow_ips=os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"),
        )
    )
