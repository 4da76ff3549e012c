"""How the site is put together: settings, addresses, server, background engine. No domain words.

The Celery app is imported here, so that it is the default app in every process and thread before a task is sent.
"""

from fedportal.celery import app as celery_app

__all__ = ["celery_app"]
