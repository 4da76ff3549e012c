"""Where browsers' sockets connect."""

from __future__ import annotations

from django.urls import path

from rounds.consumers import RunConsumer

websocket_urlpatterns = [path("ws/runs/<uuid:run_id>/", RunConsumer.as_asgi())]
