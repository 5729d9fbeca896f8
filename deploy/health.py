"""For HEALTHCHECK: exit status 0 if the relay in this container answers /livez. The image has no curl.

It asks at RELAY_HOST and RELAY_PORT, which the image sets, and reads nothing else: an edit that breaks the configuration
file changes nothing in a relay that runs, and must not make its container look ill. Whether the relay speaks TLS may be
said in that file, so both are tried. The certificate is not verified: it names the public address, and this is the inside.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound
_TIMEOUT_S = 2.0
"""Of each of two attempts: both have ended before HEALTHCHECK's own 5 s."""


def main() -> int:
    """Return 0 if the relay answers, in clear text or over TLS."""
    host = os.environ.get("RELAY_HOST", "").strip("[]")
    address = (_LOOPBACK.get(host, host), int(os.environ.get("RELAY_PORT") or "3000"))
    in_clear_text = http.client.HTTPConnection(*address, timeout=_TIMEOUT_S)
    over_tls = http.client.HTTPSConnection(*address, timeout=_TIMEOUT_S, context=_trusting())
    answers = any(_is_alive(connection) for connection in (in_clear_text, over_tls))
    return 0 if answers else 1


def _trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _is_alive(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
