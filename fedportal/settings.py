"""Every setting of the site, read from the environment once. Defaults are those of one secure process on loopback."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.management.utils import get_random_secret_key
from django.utils.translation import gettext_lazy as _

from fedportal.logs import logging_settings
from institutions.secret_file import made_once

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent

# ------------------------------------------------------------------ where the site keeps its things
FEDPORTAL_DATA_DIR = Path(env.str("FEDPORTAL_DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
for _folder in ("", "blobs", "keys", "wheels", "static"):
    (FEDPORTAL_DATA_DIR / _folder).mkdir(parents=True, exist_ok=True, mode=0o700)
FEDPORTAL_PORTAL_KEY = Path(env.str("FEDPORTAL_PORTAL_KEY", default=str(FEDPORTAL_DATA_DIR / "keys" / "portal.pem")))
FEDPORTAL_WHEEL_DIR = Path(env.str("FEDPORTAL_WHEEL_DIR", default=str(FEDPORTAL_DATA_DIR / "wheels")))
FEDPORTAL_URL = env.str("FEDPORTAL_URL", default="").rstrip("/")
"""The address that people and agents use, for links and commands; empty: the address of the request."""
REDIS_URL = env.str("REDIS_URL", default="")
"""Set: broker, channel layer and cache are Redis and there may be many processes. Empty: this one process is all."""

FEDPORTAL_METRICS_TOKEN = env.str("FEDPORTAL_METRICS_TOKEN", default="")
"""Who may read /metrics: the bearer of this token; empty: whoever asks from this machine itself."""

# ------------------------------------------------------------------ secrets and the outer shell
SECRET_KEY = env.str("SECRET_KEY", default="") or made_once(
    FEDPORTAL_DATA_DIR / "keys" / "secret_key", lambda: get_random_secret_key().encode()
).decode()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
DEBUG = env.bool("DEBUG", default=False)
_public = urlsplit(FEDPORTAL_URL)
_https = _public.scheme == "https"
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"]) + (
    [_public.hostname] if _public.hostname else []
)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[FEDPORTAL_URL] if _https else [])
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "fedportal_session", "fedportal_csrf"
SESSION_COOKIE_AGE = env.int("SESSION_COOKIE_AGE", default=12 * 3600)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31_536_000 if _https else 0)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = 9 * 2**20
"""Above one upload part (8 MiB), so that a part stays in memory; the ASGI door stops reading any body there."""

# 'sha256-47DEQ..' is the hash of the empty string: Plotly inserts one empty <style>
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# ------------------------------------------------------------------ what it is made of
INSTALLED_APPS = [
    "fedportal.apps.FedportalConfig",
    "institutions.apps.InstitutionsConfig",
    "rounds.apps.RoundsConfig",
    "audit.apps.AuditConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "channels",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "fedportal.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
ROOT_URLCONF = "fedportal.urls"
ASGI_APPLICATION = "fedportal.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.template.context_processors.csrf",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "institutions.context.seat",
            ],
        },
    }
]

# ------------------------------------------------------------------ database
_SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",  # DEFERRED loses the race for the write lock by the thousand
    "timeout": 20,
    "init_command": (
        "PRAGMA journal_mode=WAL; "
        f"PRAGMA synchronous={env.str('SQLITE_SYNCHRONOUS', default='NORMAL')}; "
        "PRAGMA foreign_keys=ON; PRAGMA recursive_triggers=ON; PRAGMA journal_size_limit=67108864"
    ),
}
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{FEDPORTAL_DATA_DIR / 'db.sqlite3'}")}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    _database["ENGINE"] = "fedportal.queued.sqlite3"
    _database["OPTIONS"] = _SQLITE_OPTIONS | _database.get("OPTIONS", {})
    _database["CONN_MAX_AGE"] = None
    # a file, not memory: threads of a race test need connections of their own
    _database["TEST"] = {"NAME": os.path.join(tempfile.gettempdir(), f"fedportal-test-{os.getpid()}.sqlite3")}
else:
    _database["CONN_MAX_AGE"] = 0
    _database["CONN_HEALTH_CHECKS"] = True  # or the pool hands out connections to a server that is no more
    _database.setdefault("OPTIONS", {}).setdefault("pool", {"min_size": 2, "max_size": 16, "timeout": 10})

# ------------------------------------------------------------------ blobs and static files
_collected = env.str("FEDPORTAL_STATIC", default="finders") == "collected"
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(FEDPORTAL_DATA_DIR / "blobs")},
    },
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _collected
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
if _bucket := env.str("BLOBS_S3_BUCKET", default=""):
    STORAGES["blobs"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": _bucket, "location": env.str("BLOBS_S3_PREFIX", default=""), "default_acl": None,
            "endpoint_url": env.str("BLOBS_S3_ENDPOINT", default="") or None, "file_overwrite": True,
            "region_name": env.str("BLOBS_S3_REGION", default="us-east-1"), "signature_version": "s3v4",
            "addressing_style": env.str("BLOBS_S3_ADDRESSING", default="auto"), "querystring_auth": False,
        },
    }
STATIC_URL = "/static/"
STATIC_ROOT = FEDPORTAL_DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = not _collected
WHITENOISE_MANIFEST_STRICT = False

# ------------------------------------------------------------------ cache, channels, background engine
if REDIS_URL:
    _cache = {
        "BACKEND": "fedportal.cache.SharedCache", "LOCATION": REDIS_URL,
        "OPTIONS": {"socket_connect_timeout": 1.0, "socket_timeout": 2.0},
    }
    CACHES = {"default": _cache, "nonces": _cache | {"KEY_PREFIX": "nonce"}}
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }
    CELERY_BROKER_URL = REDIS_URL
else:
    _memory = "django.core.cache.backends.locmem.LocMemCache"
    CACHES = {
        "default": {"BACKEND": _memory, "LOCATION": "default", "OPTIONS": {"MAX_ENTRIES": 20_000}},
        # a nonce dropped early could be replayed: room for ten minutes of 300 requests a second
        "nonces": {"BACKEND": _memory, "LOCATION": "nonces", "OPTIONS": {"MAX_ENTRIES": 200_000}},
    }
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CELERY_BROKER_URL = "memory://localhost/"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.05}
    CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
    CELERY_DB_REUSE_MAX = 1000
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # rows are the jobs: what is lost with its worker, the next sweep finds
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"  # no shelve file: the schedule is code
CELERY_TIMEZONE = "UTC"
AGGREGATION_SHARED_FROM_BYTES = env.int("AGGREGATION_SHARED_FROM_BYTES", default=512 * 2**20)
"""Several workers share an aggregation that reads at least so much."""
AGGREGATION_SPAN_BYTES = env.int("AGGREGATION_SPAN_BYTES", default=16 * 2**20)
# a beat that comes late is not made up for: each sweep looks at everything
CELERY_BEAT_SCHEDULE = {
    "sweep": {"task": "rounds.tasks.sweep", "schedule": 1.0, "options": {"expires": 5.0}},
    "collect": {"task": "rounds.tasks.collect", "schedule": 3600.0, "options": {"expires": 3600.0}},
}
CELERY_TASK_SERIALIZER, CELERY_ACCEPT_CONTENT = "json", ["json"]

FEDPORTAL_APPROVAL_DEADLINE_S = env.int("FEDPORTAL_APPROVAL_DEADLINE_S", default=7 * 86_400)
"""How long a proposed run waits for the banks' word before it fails and says who did not answer."""

# ------------------------------------------------------------------ people
AUTH_USER_MODEL = "institutions.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "institutions.adapter.ClosedSignup"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"  # an invitation's link is the proof; addresses cannot be changed by their owner
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False
ACCOUNT_REAUTHENTICATION_TIMEOUT = 900
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[fedportal] "
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "fedportal"
EMAIL_CONFIG = env.email("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="fedportal@localhost")

# ------------------------------------------------------------------ API
REST_FRAMEWORK = {
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "institutions.problems.drf_exception_handler",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "fedportal",
    "DESCRIPTION": "What agents and auditors say to the portal. Agents sign every request (RFC 9421).",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "fedportal.openapi.add_plain_views"],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# ------------------------------------------------------------------ language and time
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_NAME = "fedportal_language"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# ------------------------------------------------------------------ logs
LOGGING = logging_settings(as_json=env.bool("FEDPORTAL_LOG_JSON", default=False), level=env.str("FEDPORTAL_LOG_LEVEL", default="INFO"))
