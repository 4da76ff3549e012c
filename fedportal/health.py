"""Is the process alive, and can it do its work?"""

from __future__ import annotations

import shutil

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from kombu.exceptions import OperationalError

from fedportal.celery import app

MIN_FREE_BYTES = 512 * 2**20


def _broker() -> dict[str, str]:
    """Redis, where it is the broker. Embedded, the broker is this process's memory."""
    if not settings.REDIS_URL:
        return {}
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
    except (OSError, OperationalError):
        return {"broker": "does not answer"}
    return {}


def _disk() -> dict[str, str]:
    """Uploads are assembled on this disk, wherever they are kept afterwards."""
    free = shutil.disk_usage(settings.FEDPORTAL_DATA_DIR).free
    return {"disk": f"has {free // 2**20} MiB left"} if free < MIN_FREE_BYTES else {}


def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """The database answers and has every migration, the broker answers, and there is room for an update."""
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return JsonResponse({"status": "unavailable", "database": "does not answer"}, status=503)
    if waiting:
        return JsonResponse({"status": "unavailable", "migrations": "are waiting"}, status=503)
    if trouble := _broker() or _disk():
        return JsonResponse({"status": "unavailable", **trouble}, status=503)
    return JsonResponse({"status": "ok"})
