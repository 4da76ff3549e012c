"""How the site is put together: settings, addresses, server, background engine. No domain words.

The Celery app is imported here, so that it is the default app in every process and thread before a task is sent.

Linear algebra gets one thread: rounds are shared among workers, and a library's own threads only stand in their way.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is loaded

from fedportal.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
