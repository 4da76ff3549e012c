"""What a monitor may read, and who is a monitor: somebody on this machine, or who knows the token."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric

from rounds.selectors.gauges import families


class _Tables:
    """Counts from the database at the moment of the scrape: nothing is kept in processes, nothing must be gathered from them."""

    def collect(self) -> Iterator[Metric]:
        return families()


REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text. 403 for who is no monitor."""
    if not is_monitor(request):
        return HttpResponse("metrics are for this machine, or for who knows FEDPORTAL_METRICS_TOKEN\n", status=403)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Tables())
    return HttpResponse(generate_latest(REGISTRY) + generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def is_monitor(request: HttpRequest) -> bool:
    """With a token set, whoever sends it as a bearer; without, whoever asks from this machine itself."""
    if token := settings.FEDPORTAL_METRICS_TOKEN:
        return hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {token}".encode())
    try:
        is_local = ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
    return is_local and "X-Forwarded-For" not in request.headers
