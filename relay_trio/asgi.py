"""`hypercorn -k trio relay_trio.asgi:app`: the relay under plain hypercorn, with every guarantee of `relay-trio serve`.

Importing this module reads the configuration (RELAY_CONFIG, the environment), starts the log and puts our connection
class in hypercorn's place. A configuration that is wrong ends the process with status 2, as `serve` does. Where we
listen, with how many workers and with which certificate is hypercorn's to say here.
"""

from __future__ import annotations

import sys

from hypercorn.config import Config

from relay_trio.assembly import build_app
from relay_trio.cli.configuration import configured
from relay_trio.cli.startup import start
from relay_trio.cli.terminal import CommandFailed, complain
from relay_trio.edge.app import App
from relay_trio.telemetry.log import HypercornLogger


def _app() -> App:
    try:
        configuration = configured(None)
    except CommandFailed as failed:
        complain(failed.lines)
        sys.exit(failed.status)
    Config.logger_class = HypercornLogger  # read when hypercorn writes its first line, which is after this import
    return build_app(start(configuration).process())


app = _app()
