"""What the environment makes of the site: secure where the address is https, and logs that a machine can read."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from fedportal.logs import JsonFormatter, RequestIdFilter, request_id

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import json
from django.conf import settings as s
print(json.dumps({name: getattr(s, name) for name in (
    "DEBUG", "ALLOWED_HOSTS", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "SECURE_HSTS_SECONDS", "CSRF_TRUSTED_ORIGINS",
    "CELERY_BROKER_URL")} | {"engine": s.DATABASES["default"]["ENGINE"], "layer": s.CHANNEL_LAYERS["default"]["BACKEND"]}))
"""


def settings_with(tmp_path: Path, **environment: str) -> dict:  # type: ignore[type-arg]
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    env = {**kept, "DJANGO_SETTINGS_MODULE": "fedportal.settings", "FEDPORTAL_DATA_DIR": str(tmp_path), **environment}
    done = subprocess.run([sys.executable, "-c", SHOW], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_without_any_environment_the_site_is_closed_and_needs_no_service(tmp_path: Path) -> None:
    found = settings_with(tmp_path)
    assert found["DEBUG"] is False
    assert found["ALLOWED_HOSTS"] == ["127.0.0.1", "localhost", "[::1]"]
    assert found["engine"] == "fedportal.queued.sqlite3"
    assert found["CELERY_BROKER_URL"].startswith("memory:")
    assert found["layer"] == "channels.layers.InMemoryChannelLayer"


def test_an_https_address_makes_cookies_secure(tmp_path: Path) -> None:
    found = settings_with(tmp_path, FEDPORTAL_URL="https://portal.bank.example/")
    assert found["SESSION_COOKIE_SECURE"] is found["CSRF_COOKIE_SECURE"] is True
    assert found["SECURE_HSTS_SECONDS"] > 0
    assert "portal.bank.example" in found["ALLOWED_HOSTS"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://portal.bank.example"]


def test_addresses_of_services_scale_the_site_out(tmp_path: Path) -> None:
    found = settings_with(tmp_path, DATABASE_URL="postgres://u:p%40ss@db/fed", REDIS_URL="redis://cache/1")
    assert found["engine"] == "django.db.backends.postgresql"
    assert found["CELERY_BROKER_URL"] == "redis://cache/1"
    assert found["layer"] == "channels_redis.pubsub.RedisPubSubChannelLayer"


def test_a_line_of_the_machine_readable_log_names_its_request() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RequestIdFilter())
    logger = logging.Logger("fedportal.test")
    logger.addHandler(handler)
    token = request_id.set("abc123")
    try:
        raise ValueError("überraschend")
    except ValueError:
        logger.exception("it broke: %s", "why\nnot")
    finally:
        request_id.reset(token)
    line = json.loads(stream.getvalue())
    assert (line["request"], line["level"], line["message"]) == ("abc123", "ERROR", "it broke: why\nnot")
    assert "überraschend" in line["exception"]
    assert stream.getvalue().count("\n") == 1
