"""The background engine's Celery app. It may lose or repeat anything: the rows in the database are the jobs."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import worker_init

from fedportal.memory import keep_few_arenas

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fedportal.settings")

app = Celery("fedportal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()  # or threads of the embedded pool resolve another app, and every task dies as NotRegistered, silently
app.autodiscover_tasks()


@worker_init.connect
def _spare_memory(**_: object) -> None:
    keep_few_arenas()
