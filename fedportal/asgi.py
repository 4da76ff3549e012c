"""The site's front door: agents' signed requests on a short path, people's on Django's whole stack, browsers' sockets."""

from __future__ import annotations

import os
import warnings

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fedportal.settings")
_people = get_asgi_application()  # sets Django up; what follows needs it

# whitenoise reads a file whole under ASGI; ours are small, and models never go that way
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from fedportal.agents_door import AgentsDoor  # noqa: E402
from fedportal.body_limit import BodyLimit  # noqa: E402
from rounds.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": BodyLimit(AgentsDoor(_people)),
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }
)
