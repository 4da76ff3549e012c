"""Which room answers at which address."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from fedportal import (
    health,
    openapi,  # noqa: F401  registers how agents authenticate
)
from institutions.views.institutions import wheel

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("accounts/", include("institutions.accounts")),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="api-schema"), name="api-docs"),
    path("api/v1/", include("institutions.api")),
    path("api/v1/", include("rounds.api.urls")),
    path("agent/<str:name>", wheel, name="agent-wheel"),
    path("", include("institutions.urls")),
    path("", include("rounds.urls")),
]

handler403 = "fedportal.refusals.forbidden"
handler404 = "fedportal.refusals.not_found"
handler500 = "fedportal.refusals.server_error"
