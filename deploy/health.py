"""For HEALTHCHECK: exit status 0 if the relay in this container answers /livez. The image has no curl.

It asks in clear text or over TLS, as the relay is configured by RELAY_* variables. The certificate is not verified: it
names the relay's public address, and this is the inside.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

port = int(os.environ.get("RELAY_PORT") or "3000")
if os.environ.get("RELAY_TLS_CERT"):
    context = ssl._create_unverified_context()  # noqa: S323, SLF001 - see above
    connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", port, timeout=3, context=context)
else:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
connection.request("GET", "/livez")
sys.exit(0 if connection.getresponse().status == http.HTTPStatus.OK else 1)
